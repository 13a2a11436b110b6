import { capabilitiesContract } from './capabilities.ts';
import { doctorContract } from './doctor.ts';
import { failoverContract } from './failover.ts';
import { scriptContract } from './scripts.ts';
import { startForFile } from './topologies.ts';

const topology = startForFile('standalone');
capabilitiesContract(topology, 'standalone');
doctorContract(topology, 'standalone');
scriptContract(topology);
failoverContract(topology);
