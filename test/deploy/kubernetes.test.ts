/** The Kubernetes objects: against their types, against each other, and against the program that they run. */
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import express from 'express';
import { describe, expect, inject, test } from 'vitest';
import { z } from 'zod';
import { autoscaleRouter, healthRouter, listen } from '../../src/http/index.ts';
import { silentLogger } from '../../src/log.ts';
import { createPlatform } from '../../src/platform.ts';
import { ownedByTest } from '../support/owned.ts';
import { startRedis } from '../support/servers.ts';
import { DRAIN_MS, mustRun, ROOT, textOf, VARIABLES, yamlOf } from './files.ts';

const own = ownedByTest();
const FOLDER = 'docs/deploy/kubernetes';

/** An object, as far as all of them are alike. */
interface KubeObject {
  apiVersion: string;
  kind: string;
  metadata: { name: string };
  spec?: unknown;
  data?: Record<string, string>;
}

const files = ['base', 'keda', 'hpa'].flatMap((part) =>
  readdirSync(join(ROOT, FOLDER, part)).map((file) => `${FOLDER}/${part}/${file}`),
);
const kustomizations = files.filter((file) => file.endsWith('/kustomization.yaml'));
const objects = files
  .filter((file) => !kustomizations.includes(file))
  .flatMap((file) => yamlOf<KubeObject>(file).map((object) => ({ ...object, file })));
const ofKind = (kind: string): KubeObject[] => objects.filter((object) => object.kind === kind);

const labels = z.record(z.string(), z.string());
const probe = z.object({ httpGet: z.object({ path: z.string(), port: z.string() }) });
const deploymentSpec = z.object({
  replicas: z.number().optional(),
  selector: z.object({ matchLabels: labels }),
  template: z.object({
    metadata: z.object({ labels }),
    spec: z.object({
      terminationGracePeriodSeconds: z.number(),
      securityContext: z.object({ runAsNonRoot: z.literal(true) }),
      containers: z.tuple([
        z.object({
          command: z.array(z.string()),
          ports: z.tuple([z.object({ name: z.string(), containerPort: z.number() })]),
          envFrom: z.array(z.record(z.string(), z.object({ name: z.string() }))),
          startupProbe: probe,
          livenessProbe: probe,
          readinessProbe: probe,
          lifecycle: z.object({ preStop: z.object({ sleep: z.object({ seconds: z.number() }) }) }).optional(),
          securityContext: z.object({
            allowPrivilegeEscalation: z.literal(false),
            readOnlyRootFilesystem: z.literal(true),
          }),
        }),
      ]),
    }),
  }),
});
const deployments = ofKind('Deployment').map(({ metadata: { name }, spec }) => {
  const { replicas, selector, template } = deploymentSpec.parse(spec);
  return { name, replicas, selector, template, pod: template.spec, container: template.spec.containers[0] };
});
const deploymentOf = (name: string) =>
  deployments.find((one) => one.name === name) ?? expect.fail(`there is no Deployment ${name}`);

describe('types', () => {
  /** Where each kind's type is; what KEDA adds is told below. */
  const TYPES: Readonly<Record<string, string>> = {
    Deployment: "import('kubernetes-types/apps/v1').Deployment",
    Service: "import('kubernetes-types/core/v1').Service",
    ConfigMap: "import('kubernetes-types/core/v1').ConfigMap",
    PodDisruptionBudget: "import('kubernetes-types/policy/v1').PodDisruptionBudget",
    HorizontalPodAutoscaler: "import('kubernetes-types/autoscaling/v2').HorizontalPodAutoscaler",
    ScaledObject: 'ScaledObject',
    TriggerAuthentication: 'TriggerAuthentication',
  };
  const KEDA = `
    type Behavior = import('kubernetes-types/autoscaling/v2').HorizontalPodAutoscalerBehavior;
    type Meta = import('kubernetes-types/meta/v1').ObjectMeta;
    interface ScaledObject { apiVersion: 'keda.sh/v1alpha1'; kind: 'ScaledObject'; metadata: Meta; spec: {
      scaleTargetRef: { apiVersion?: string; kind?: string; name: string; envSourceContainerName?: string };
      pollingInterval?: number; cooldownPeriod?: number; initialCooldownPeriod?: number; idleReplicaCount?: number;
      minReplicaCount?: number; maxReplicaCount?: number; fallback?: { failureThreshold: number; replicas: number };
      advanced?: { restoreToOriginalReplicaCount?: boolean; horizontalPodAutoscalerConfig?: { name?: string; behavior?: Behavior } };
      triggers: Array<{ type: 'metrics-api'; name?: string; metricType?: 'AverageValue' | 'Value'; useCachedMetrics?: boolean;
        authenticationRef?: { name: string; kind?: string };
        metadata: { url: string; valueLocation: string; targetValue: string; activationTargetValue?: string; authMode?: 'bearer'; format?: 'json' } }> } }
    interface TriggerAuthentication { apiVersion: 'keda.sh/v1alpha1'; kind: 'TriggerAuthentication'; metadata: Meta; spec: {
      secretTargetRef: Array<{ parameter: string; name: string; key: string }> } }
  `;

  const check = async (name: string, given: readonly KubeObject[]): Promise<string> => {
    const folder = join(inject('compiled'), 'deploy');
    mkdirSync(folder, { recursive: true });
    const file = join(folder, `${name}.ts`);
    const lines = given.map((object, index) => {
      const { file: _, ...plain } = object as KubeObject & { file?: string };
      return `export const object${index}: ${TYPES[object.kind]} = ${JSON.stringify(plain)};`;
    });
    writeFileSync(file, [...lines, KEDA].join('\n'));
    const flags = ['--noEmit', '--strict', '--skipLibCheck', '--ignoreConfig', '--module', 'preserve', '--types', ''];
    const tsc = promisify(execFile)(join(ROOT, 'node_modules/.bin/tsc'), [...flags, file]);
    return tsc.then(
      () => '',
      (error: { stdout: string }) => error.stdout,
    );
  };

  test('each object is of its type, to the last field', async () => {
    expect(objects.filter(({ kind }) => !(kind in TYPES))).toEqual([]);
    expect(objects.length).toBeGreaterThan(10);
    expect(await check('objects', objects)).toBe('');
  });

  test('a field that is misspelt is found', async () => {
    const [worker] = structuredClone(ofKind('Deployment'));
    const { template } = (worker as { spec: { template: { spec: Record<string, unknown> } } }).spec;
    template.spec['terminationGracePeriod'] = 40;
    expect(await check('misspelt', [worker!])).toContain('terminationGracePeriod');
  });
});

describe('the objects', () => {
  test('are those that the kustomizations list', () => {
    const listed = kustomizations.flatMap((file) =>
      yamlOf<{ resources: string[] }>(file).flatMap(({ resources }) =>
        resources.map((one) => join(dirname(file), one)),
      ),
    );
    expect(listed.filter((one) => !existsSync(join(ROOT, one)))).toEqual([]);
    expect(new Set(listed)).toEqual(new Set([...objects.map(({ file }) => file), `${FOLDER}/base`]));
  });

  test('run commands that the image has, at its port, and probe what it answers', async () => {
    const platform = createPlatform({ redis: { url: 'redis://127.0.0.1:1' }, log: silentLogger });
    const listener = own(await listen(express().use(healthRouter(platform)), { host: '127.0.0.1', port: 0 }));
    const port = Number(/\bPORT=(\d+)/.exec(textOf('Dockerfile'))?.[1]);
    expect(deployments.map(({ name }) => name)).toEqual(expect.arrayContaining(['worker', 'dashboard', 'api']));
    for (const { container } of deployments) {
      mustRun(container.command);
      expect(container.ports[0].containerPort).toBe(port);
      expect(container.startupProbe.httpGet.path).toBe('/livez');
      expect(container.livenessProbe.httpGet.path).toBe('/livez');
      expect(container.readinessProbe.httpGet.path).toBe('/readyz');
      for (const { httpGet } of [container.startupProbe, container.livenessProbe, container.readinessProbe]) {
        expect(httpGet.port).toBe(container.ports[0].name);
        const answer = await fetch(listener.url + httpGet.path, { headers: { connection: 'close' } });
        expect([200, 503]).toContain(answer.status);
      }
    }
  });

  test('leave a drain the time that it takes, and what comes before it', () => {
    for (const { pod, container } of deployments) {
      const beforeMs = (container.lifecycle?.preStop.sleep.seconds ?? 0) * 1_000;
      expect(pod.terminationGracePeriodSeconds * 1_000).toBeGreaterThan(DRAIN_MS + beforeMs + 5_000);
    }
  });

  test('set variables that the platform reads', () => {
    const config = ofKind('ConfigMap');
    expect(config.map(({ metadata }) => metadata.name)).toEqual(['millrace']);
    expect(config.flatMap(({ data = {} }) => Object.keys(data)).filter((name) => !VARIABLES.has(name))).toEqual([]);
    for (const { container } of deployments)
      expect(container.envFrom).toEqual([{ configMapRef: { name: 'millrace' } }, { secretRef: { name: 'millrace' } }]);
  });

  test('select the pods that are there', () => {
    const selector = z.object({ selector: z.union([z.object({ matchLabels: labels }), labels]) });
    const selected = [...ofKind('Service'), ...ofKind('PodDisruptionBudget')].map(({ metadata, spec }) => {
      const { selector: chosen } = selector.parse(spec);
      const { template } = deploymentOf(metadata.name);
      expect(template.metadata.labels).toEqual('matchLabels' in chosen ? chosen.matchLabels : chosen);
      return metadata.name;
    });
    expect(selected.toSorted()).toEqual(['api', 'api', 'dashboard', 'dashboard', 'worker']);
    for (const { selector: own_, template } of deployments) expect(template.metadata.labels).toEqual(own_.matchLabels);
  });

  test('scale Deployments that say no number of their own', () => {
    const target = z.object({ scaleTargetRef: z.object({ name: z.string() }) });
    const scaled = [...ofKind('ScaledObject'), ...ofKind('HorizontalPodAutoscaler')].map(
      ({ spec }) => target.parse(spec).scaleTargetRef.name,
    );
    expect(scaled.toSorted()).toEqual(['api', 'worker', 'worker']);
    for (const name of scaled) expect(deploymentOf(name).replicas).toBeUndefined();
  });
});

describe('the autoscalers', () => {
  test('KEDA asks a service that is there for what the endpoint answers, with the token of its guard', async () => {
    const { triggers } = z
      .object({
        triggers: z.tuple([
          z.object({
            metadata: z.object({ url: z.string(), valueLocation: z.string() }),
            authenticationRef: z.object({ name: z.string() }),
          }),
        ]),
      })
      .parse(ofKind('ScaledObject')[0]?.spec);
    const [{ metadata, authenticationRef }] = triggers;
    const url = new URL(metadata.url);
    expect(url.host).toBe('dashboard.millrace.svc:3000');
    for (const file of kustomizations) expect(yamlOf<{ namespace: string }>(file)[0]?.namespace).toBe('millrace');
    const ports = z.object({ ports: z.tuple([z.object({ port: z.number() })]) });
    const service = ofKind('Service').find((one) => one.metadata.name === 'dashboard');
    expect(ports.parse(service?.spec).ports[0].port).toBe(3_000);

    const server = own(await startRedis());
    const platform = createPlatform({ redis: { url: server.url }, log: silentLogger });
    own({ stop: () => platform.stop() });
    await platform.start();
    const listener = own(await listen(express().use(autoscaleRouter(platform)), { host: '127.0.0.1', port: 0 }));
    const answer = await fetch(listener.url + url.pathname + url.search, { headers: { connection: 'close' } });
    expect(answer.status).toBe(200);
    expect(((await answer.json()) as Record<string, unknown>)[metadata.valueLocation]).toBe(0);

    const [authentication] = ofKind('TriggerAuthentication');
    expect(authentication?.metadata.name).toBe(authenticationRef.name);
    expect(authentication?.spec).toEqual({
      secretTargetRef: [{ parameter: 'token', name: 'millrace', key: 'METRICS_TOKEN' }],
    });
    expect(VARIABLES.has('METRICS_TOKEN')).toBe(true);
  });
});
