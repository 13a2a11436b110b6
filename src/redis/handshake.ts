/**
 * Clients that do not wait for ever for a handshake.
 *
 * ioredis' connectTimeout ends with the connection, or with the handshake of TLS. HELLO, AUTH, the connection's name and INFO, which come then, have
 * no deadline; if they are not answered, the client is neither ready nor does it try again. Here each silence in them may last as long as connecting
 * may; then the connection is given up like one that was lost.
 */
import { Cluster, type ClusterNode, type ClusterOptions, type Redis } from 'ioredis';
import { formatMs } from '../durations.ts';
import { giveUpIfSilent } from './silence.ts';

/** Gives up connections of the client whose handshake is not answered. @returns the client */
export function watchHandshake<Client extends Redis>(redis: Client): Client {
  let stop: (() => void) | undefined;
  redis.on('connect', () => {
    const { connectTimeout: deadlineMs } = redis.options as { connectTimeout: number };
    stop?.();
    stop = giveUpIfSilent(redis, deadlineMs, `no answer to the handshake in ${formatMs(deadlineMs)}`);
  });
  redis.on('ready', () => stop?.());
  redis.on('close', () => stop?.());
  return redis;
}

/** The client of a Cluster, whose nodes' clients are watched; so are those of the Clusters that BullMQ makes of it. */
export class PatientCluster extends Cluster {
  constructor(nodes: ClusterNode[], options: ClusterOptions) {
    super(nodes, options as object);
    this.on('+node', watchHandshake);
  }

  override duplicate(nodes?: ClusterNode[], options?: object): Cluster {
    return super.duplicate(nodes, options).on('+node', watchHandshake);
  }
}
