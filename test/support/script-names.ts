/** What the scripts are called that tests start in processes of their own: bundle.ts puts each of them, and what it needs, into few files. */
export const SCRIPT = /(?:-process|-worker|-digger|-contender|provisioner)$/;
