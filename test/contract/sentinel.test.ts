import { capabilitiesContract } from './capabilities.ts';
import { doctorContract } from './doctor.ts';
import { failoverContract } from './failover.ts';
import { scriptContract } from './scripts.ts';
import { startForFile } from './topologies.ts';

const topology = startForFile('sentinel');
capabilitiesContract(topology, 'sentinel');
doctorContract(topology, 'sentinel');
scriptContract(topology);
failoverContract(topology);
