package helm

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func schema(t *testing.T) map[string]any {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(chartDir, "values.schema.json"))
	require.NoError(t, err)
	var s map[string]any
	require.NoError(t, json.Unmarshal(text, &s))
	return s
}

// schemaSettings are the names that a `config` may have; path is its place in the properties.
func schemaSettings(t *testing.T, path ...string) []string {
	t.Helper()
	at, ok := schema(t)["properties"].(map[string]any)
	for _, step := range append(path, "propertyNames") {
		require.True(t, ok, path)
		at, ok = at[step].(map[string]any)
	}
	var names []string
	for _, name := range at["enum"].([]any) {
		names = append(names, name.(string))
	}
	return names
}

// TestTheSchemaDescribesEveryValue: the schema checks everything in values.yaml.
func TestTheSchemaDescribesEveryValue(t *testing.T) {
	s := schema(t)
	values, err := readValues(filepath.Join(chartDir, "values.yaml"))
	require.NoError(t, err)
	properties := s["properties"].(map[string]any)
	for name := range values {
		require.Contains(t, properties, name)
	}
	require.Len(t, properties, len(values)+1, "global is Helm's own")
}

// TestTheSchemaIsStrict wherever it names properties.
func TestTheSchemaIsStrict(t *testing.T) {
	var walk func(at any, path string)
	walk = func(at any, path string) {
		node, ok := at.(map[string]any)
		if !ok {
			return
		}
		_, names := node["properties"]
		if _, typed := node["type"]; typed && names {
			require.Equal(t, false, node["additionalProperties"], path)
		}
		for name, below := range node {
			walk(below, path+"/"+name)
		}
	}
	walk(schema(t), "")
}

func TestWrongValuesAreRefused(t *testing.T) {
	for name, c := range map[string]struct{ values, says string }{
		"an unknown value":                       {`{replicas: 3}`, "replicas"},
		"an unknown value of a service":          {`{auth: {replica: 3}}`, "replica"},
		"an unknown value of the defaults":       {`{defaults: {hpa: {}}}`, "hpa"},
		"a setting that is misspelt":             {`{config: {LOGLEVEL: debug}}`, "LOGLEVEL"},
		"a setting of another service":           {`{keys: {config: {MAX_POLLS: 10}}}`, "MAX_POLLS"},
		"a setting of one service for all":       {`{config: {MAX_POLLS: 10}}`, "MAX_POLLS"},
		"a secret in the settings":               {`{auth: {config: {JWT_SIGNING_KEY: x}}}`, "JWT_SIGNING_KEY"},
		"a URI in the settings":                  {`{config: {MONGODB_URI: "mongodb://root:pw@db"}}`, "MONGODB_URI"},
		"a setting that the chart makes":         {`{config: {SHUTDOWN_TIMEOUT: 5s}}`, "SHUTDOWN_TIMEOUT"},
		"a setting that is a list":               {`{config: {TRUSTED_PROXIES: [10.0.0.0/8]}}`, "TRUSTED_PROXIES"},
		"replicas as text":                       {`{auth: {replicas: "2"}}`, "replicas"},
		"negative replicas":                      {`{auth: {replicas: -1}}`, "replicas"},
		"a port out of range":                    {`{auth: {service: {port: 70000}}}`, "port"},
		"the tag latest":                         {`{image: {tag: latest}}`, "tag"},
		"a digest that is none":                  {`{auth: {image: {digest: abc}}}`, "digest"},
		"an image of the test without a tag":     {`{test: {image: curlimages/curl}}`, "image"},
		"an image of the test with latest":       {`{test: {image: "curlimages/curl:latest"}}`, "image"},
		"a policy of pulling that is none":       {`{image: {pullPolicy: Sometimes}}`, "pullPolicy"},
		"root":                                   {`{podSecurity: {runAsUser: 0}}`, "runAsUser"},
		"a duration without a unit":              {`{retention: "90"}`, "retention"},
		"a wait longer than the contract's":      {`{timeouts: {maxPollWait: 90}}`, "maxPollWait"},
		"a timeout with a unit":                  {`{timeouts: {route: 75s}}`, "route"},
		"a mode of Redis that is none":           {`{redis: {mode: sharded}}`, "mode"},
		"no Secret for MongoDB":                  {`{mongodb: {existingSecret: ""}}`, "existingSecret"},
		"no Secret for the signing key":          {`{auth: {signingKeys: {existingSecret: ""}}}`, "existingSecret"},
		"a certificate without its key":          {`{redis: {clientCertKey: tls.crt}}`, "clientPrivateKeyKey"},
		"a key without its certificate":          {`{nats: {clientPrivateKeyKey: tls.key}}`, "clientCertKey"},
		"a password as a value":                  {`{redis: {password: x}}`, "password"},
		"no ports to an engine":                  {`{nats: {egress: {ports: []}}}`, "ports"},
		"a peer that is none":                    {`{networkPolicy: {ingressFrom: [{namespace: x}]}}`, "namespace"},
		"memory that is none":                    {`{auth: {resources: {limits: {memory: 512MB}}}}`, "memory"},
		"a resource that is misspelt":            {`{auth: {resources: {limit: {memory: 512Mi}}}}`, "limit"},
		"a spread without a topology":            {`{defaults: {topologySpreadConstraints: [{maxSkew: 1, whenUnsatisfiable: DoNotSchedule}]}}`, "topologyKey"},
		"a spread with a selector":               {`{defaults: {topologySpreadConstraints: [{maxSkew: 1, topologyKey: a, whenUnsatisfiable: DoNotSchedule, labelSelector: {}}]}}`, "labelSelector"},
		"open polls for a service without polls": {`{auth: {autoscaling: {targetOpenPolls: 10}}}`, "targetOpenPolls"},
		"a route without a gateway":              {`{httpRoute: {enabled: true}}`, "parentRefs"},
		"an Ingress without hosts":               {`{ingress: {enabled: true}}`, "hosts"},
		"a controller that is not known":         {`{ingress: {controller: traefik}}`, "controller"},
		"snippets for a controller without":      {`{ingress: {enabled: true, snippets: true, hosts: [a.example]}}`, "controller"},
		"an annotation that is a number":         {`{ingress: {annotations: {a: 1}}}`, "annotations"},
		"enabled as text":                        {`{serviceMonitor: {enabled: "yes"}}`, "enabled"},
		"a name with capitals":                   {`{fullnameOverride: Chat}`, "fullnameOverride"},

		"a label that selects the pods": {`{auth: {podLabels: {app.kubernetes.io/component: keys}}}`, "invalid propertyName"},

		// Templates check what the schema cannot express.
		"a wait that the route cuts":                     {`{timeouts: {route: 60}}`, "timeouts.route (60) must be at least timeouts.maxPollWait (60) + 5"},
		"a wait longer than the longest":                 {`{timeouts: {pollWait: 40, maxPollWait: 30}}`, "timeouts.pollWait (40) is more than"},
		"idle connections that the service closes first": {`{timeouts: {idle: 60}}`, "timeouts.idle (60) must be more than timeouts.loadBalancerIdle (60)"},
		"no time for load balancers to notice":           {`{timeouts: {preStop: 1, lameDuck: 1}}`, "must be at least 5"},
		"an ALB that is idle for too long": {
			`{ingress: {enabled: true, controller: alb, hosts: [a.example]}, timeouts: {route: 90}}`, "an ALB has one timeout",
		},
		"a grace period that is too short":    {`{pollGateway: {terminationGracePeriodSeconds: 30}}`, "pollGateway.terminationGracePeriodSeconds is 30"},
		"more pods at least than at most":     {`{auth: {autoscaling: {enabled: true, minReplicas: 5, maxReplicas: 3}}}`, "minReplicas (5) is more than"},
		"an autoscaler without a target":      {`{keys: {autoscaling: {enabled: true, targetCPUPercent: 0}}}`, "keys.autoscaling has no target"},
		"a target that is never reached":      {`{pollGateway: {autoscaling: {targetOpenPolls: 10000}}}`, "must be less than MAX_POLLS"},
		"hashing that takes all memory":       {`{auth: {config: {ARGON2_WORKERS: 16}}}`, "more than 3/4 of the memory limit"},
		"hashing without a bound":             {`{auth: {config: {ARGON2_WORKERS: 0}}}`, "ARGON2_WORKERS must be set"},
		"hashing at keys without a bound":     {`{keys: {config: {ARGON2_WORKERS: 0}}}`, "keys.config.ARGON2_WORKERS must be set"},
		"the Job before engines of the chart": {`{dev: {engines: true}}`, "needs indexes.enabled: false"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := newRelease(parseValues(t, c.values))
			require.ErrorContains(t, err, c.says)
		})
	}
}

func TestWhatAnOperatorWritesIsTaken(t *testing.T) {
	for name, values := range map[string]string{
		"nothing":                      `{}`,
		"a setting that is a number":   `{pollGateway: {config: {MAX_POLLS: 20000}}}`,
		"ids that the platform gives":  `{podSecurity: {runAsUser: null, runAsGroup: null, fsGroup: null}}`,
		"a digest":                     `{auth: {image: {digest: "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"}}}`,
		"a longer grace period":        `{auth: {terminationGracePeriodSeconds: 300}}`,
		"one pod":                      `{defaults: {replicas: 1}}`,
		"no budget for one service":    `{auth: {podDisruptionBudget: {enabled: false}}}`,
		"an engine at another address": `{mongodb: {egress: {to: [{ipBlock: {cidr: 10.1.0.0/16}}], ports: [27017, 27018]}}}`,
		"what Helm itself adds":        `{global: {}}`,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := newRelease(parseValues(t, values))
			require.NoError(t, err)
		})
	}
}
