/**
 * A client that writes the commands of one tick together while others are under way. ioredis writes each by itself, and Node hands each write to the
 * kernel at once: with a hundred in flight that is half of the process's time. A command that finds none under way does not wait, and nothing else
 * about the commands changes: neither their order nor their errors.
 */
import type { Socket } from 'node:net';
import { Redis, type Command, type RedisOptions } from 'ioredis';
import { watchHandshake } from './handshake.ts';

/** So many commands are written at once at most. */
const WRITTEN_AT_ONCE = 32;
/** And no more than one in so many of those under way: the server is to have work while this process makes the next ones. */
const UNDER_WAY_FOR_EACH = 8;

type Stream = Parameters<Redis['sendCommand']>[1];

/** ioredis' client of one server, with that. */
export class JoiningRedis extends Redis {
  readonly #outbox = new Outbox();

  constructor(options: RedisOptions & { replyMapping: 'legacy' }) {
    super(options);
    watchHandshake(this);
  }

  /** What BullMQ blocks on. */
  override duplicate(options?: object): Redis {
    return watchHandshake(super.duplicate(options));
  }

  override sendCommand(command: Command, stream?: Stream): unknown {
    const outbox = this.#outbox;
    const isSentAgain = stream === outbox.asStream; // By ioredis, on a new connection, with where it went on the old one.
    const { stream: socket, commandQueue } = this as unknown as { stream: Socket; commandQueue: { length: number } };
    if (stream !== undefined && !isSentAgain) {
      outbox.flush(); // A pipeline is written by itself, and answers are told apart by their order alone.
      return super.sendCommand(command, stream);
    }
    const isAlone = commandQueue.length === 0 || this.status !== 'ready';
    const most = Math.min(WRITTEN_AT_ONCE, commandQueue.length / UNDER_WAY_FOR_EACH);
    return super.sendCommand(command, isAlone ? undefined : outbox.to(socket, most));
  }

  override disconnect(reconnect?: boolean): void {
    this.#outbox.flush();
    super.disconnect(reconnect);
  }
}

/** What is to be written to a socket, when the tick ends at the latest. ioredis writes a command to it as it would to the socket. */
class Outbox {
  readonly asStream = this as unknown as NonNullable<Stream>;
  #socket: Socket | undefined;
  #text = '';
  #commands = 0;
  #most = 1;
  #isDue = false;

  /** @param most So many commands at once, from now on. */
  to(socket: Socket, most: number): NonNullable<Stream> {
    this.#socket = socket;
    this.#most = most;
    if (!this.#isDue) process.nextTick(flush, this);
    this.#isDue = true;
    return this.asStream;
  }

  write(command: string | Buffer): void {
    if (typeof command === 'string') this.#text += command;
    else this.#writeBinary(command);
    if (++this.#commands >= this.#most) this.flush();
  }

  flush(): void {
    const socket = this.#socket;
    this.#commands = 0;
    if (!socket) return;
    this.#writeText(socket);
    socket.uncork();
  }

  endOfTick(): void {
    this.#isDue = false;
    this.flush();
    this.#socket = undefined;
  }

  #writeText(socket: Socket): void {
    const text = this.#text;
    this.#text = '';
    // What was meant for a connection that has ended is told of by ioredis.
    if (text !== '' && socket.writable) socket.write(text);
  }

  #writeBinary(command: Buffer): void {
    const socket = this.#socket as Socket;
    if (socket.writableCorked === 0) socket.cork();
    this.#writeText(socket);
    if (socket.writable) socket.write(command);
  }
}

function flush(outbox: Outbox): void {
  outbox.endOfTick();
}
