import { capabilitiesContract } from './capabilities.ts';
import { doctorContract } from './doctor.ts';
import { failoverContract } from './failover.ts';
import { scriptContract } from './scripts.ts';
import { startForFile } from './topologies.ts';

const topology = startForFile('cluster');
capabilitiesContract(topology, 'cluster');
doctorContract(topology, 'cluster');
scriptContract(topology);
failoverContract(topology);
