// Package cluster runs a whole deployment on one machine: the four services, each in any number of processes, on real engines, behind the
// load balancer.
package cluster

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sealpost/sealpost/deploy/test/engines"
	"github.com/sealpost/sealpost/pkg/token"
)

// The services.
const (
	Auth     = "auth"
	Keys     = "keys"
	Messages = "messages"
	Gateway  = "poll-gateway"
)

// Services returns all services, in the order of lists.
func Services() []string { return []string{Auth, Keys, Messages, Gateway} }

// Options say what to run.
type Options struct {
	// Engines say where the services find their engines: NAME=URL, as engines.Engines.Environ gives them.
	Engines []string
	// Program returns the executable of a service, and the environment that makes it run as that service.
	Program func(service string) (path string, environ []string)
	// Nodes is the number of processes of each service. The load balancer knows two.
	Nodes int
	// Environ is added to the environment of each node; nil adds nothing. Indexes count from 1.
	Environ func(service string, index int) []string
	// LoadBalancer is the path of HAProxy's configuration; without one there is no load balancer.
	LoadBalancer string
	// Listen is the load balancer's address; the default is a free port of 127.0.0.1.
	Listen string
	// ConnectionsPerAddress is how many connections an address may have at the load balancer; 0 for its default.
	ConnectionsPerAddress int
	Log                   *slog.Logger
}

// Cluster is a running deployment.
type Cluster struct {
	// Nodes are the processes by service.
	Nodes map[string][]*Node
	// Balancer is the load balancer; nil if there is none.
	Balancer *engines.Engine
	// SigningKey signs the tokens.
	SigningKey ed25519.PrivateKey
}

// Node is one process of a service.
type Node struct {
	*engines.Engine
	Service string
	// Index counts from 1.
	Index int
	// Addr is the host:port of the public port, Admin that of the admin port.
	Addr, Admin string
}

// Name is the service and the index.
func (n *Node) Name() string { return fmt.Sprintf("%s-%d", n.Service, n.Index) }

// Start starts all processes concurrently, and returns when all are ready.
func Start(ctx context.Context, o Options) (c *Cluster, err error) {
	c = &Cluster{Nodes: map[string][]*Node{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	if _, c.SigningKey, err = ed25519.GenerateKey(rand.Reader); err != nil {
		return c, err
	}
	plan, err := c.plan(&o)
	if err != nil {
		return c, err
	}
	if o.LoadBalancer != "" { // before the nodes, which fetch the keys through it
		if c.Balancer, err = c.balance(ctx, o); err != nil {
			return c, err
		}
	}
	var starting errgroup.Group // without a context: a failure must not leave another half started
	for _, n := range plan {
		starting.Go(func() (err error) {
			n.node.Engine, err = engines.StartProgram(ctx, o.Log, n.program)
			return err
		})
	}
	if err = starting.Wait(); err != nil || c.Balancer == nil {
		return c, err
	}
	return c, c.reachable(ctx)
}

// reachable waits until the load balancer's health checks have found a ready node of each service.
func (c *Cluster) reachable(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for _, path := range []string{"/.well-known/jwks.json", "/api/keys/server-public", "/api/health", "/api/messages/poll"} {
		for status := http.StatusServiceUnavailable; status == http.StatusServiceUnavailable; {
			var err error
			if status, err = c.ask(ctx, path); err != nil {
				return fmt.Errorf("load balancer: %w", err)
			}
		}
	}
	return nil
}

// ask returns the status that the load balancer answers; it pauses after a 503.
func (c *Cluster) ask(ctx context.Context, path string) (status int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.Balancer.URL()+path, nil)
	if err != nil {
		return 0, err
	}
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	if res.StatusCode == http.StatusServiceUnavailable {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	return res.StatusCode, errors.Join(err, res.Body.Close())
}

// planned is a node to be started.
type planned struct {
	node    *Node
	program engines.Program
}

// plan assigns every node its ports and environment.
func (c *Cluster) plan(o *Options) ([]planned, error) {
	signing, err := token.EncodePrivateKey(c.SigningKey)
	if err != nil {
		return nil, err
	}
	ports, err := engines.FreePorts(2*o.Nodes*len(Services()) + 1)
	if err != nil {
		return nil, err
	}
	if o.Listen == "" {
		o.Listen = fmt.Sprintf("127.0.0.1:%d", ports[0])
	}
	ports = ports[1:]
	keysAt := o.Listen
	if o.LoadBalancer == "" {
		keysAt = fmt.Sprintf("127.0.0.1:%d", ports[0]) // the first auth node
	}
	var plan []planned
	for _, service := range Services() {
		for i := range o.Nodes {
			n := &Node{Service: service, Index: i + 1, Addr: fmt.Sprintf("127.0.0.1:%d", ports[0]), Admin: fmt.Sprintf("127.0.0.1:%d", ports[1])}
			ports = ports[2:]
			path, environ := o.Program(service)
			environ = append(environ, o.Engines...)
			environ = append(environ, listenAt(n)...)
			if service == Auth {
				environ = append(environ, "JWT_SIGNING_KEY="+string(signing))
			} else {
				environ = append(environ, "JWKS_URL=http://"+keysAt+"/.well-known/jwks.json")
			}
			if o.Environ != nil {
				environ = append(environ, o.Environ(service, i+1)...)
			}
			c.Nodes[service] = append(c.Nodes[service], n)
			plan = append(plan, planned{n, engines.Program{Name: n.Name(), Path: path, Env: environ, Addr: n.Addr, Ready: n.ready}})
		}
	}
	return plan, nil
}

func listenAt(n *Node) []string {
	_, port, _ := strings.Cut(n.Addr, ":")
	return []string{"HOST=127.0.0.1", "PORT=" + port, "ADMIN_ADDRESS=" + n.Admin}
}

// ready checks a node's admin port.
func (n *Node) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_, err := n.AdminGet(ctx, "/readyz")
	return err
}

// AdminGet requests a path from a node's admin port, and returns the body of a 200.
func (n *Node) AdminGet(ctx context.Context, path string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.Admin+path, nil)
	if err != nil {
		return "", err
	}
	req.Close = true // the node may be killed at any time
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s%s: %s: %s", n.Name(), path, res.Status, text)
	}
	return string(text), err
}

// balance starts the load balancer for the first two nodes of each service.
func (c *Cluster) balance(ctx context.Context, o Options) (*engines.Engine, error) {
	environ := []string{"LISTEN=" + o.Listen}
	if o.ConnectionsPerAddress > 0 {
		environ = append(environ, fmt.Sprint("CONNECTIONS_PER_ADDRESS=", o.ConnectionsPerAddress))
	}
	for service, list := range c.Nodes {
		prefix := strings.ToUpper(strings.ReplaceAll(service, "-", "_"))
		for i := range 2 {
			n := list[i%len(list)]
			_, port, _ := strings.Cut(n.Admin, ":")
			environ = append(environ, fmt.Sprintf("%s_%d=%s", prefix, i+1, n.Addr), fmt.Sprintf("%s_%d_ADMIN=%s", prefix, i+1, port))
		}
	}
	configuration, err := filepath.Abs(o.LoadBalancer)
	if err != nil {
		return nil, err
	}
	return engines.StartHAProxy(ctx, o.Log, configuration, o.Listen, environ)
}

// All returns all nodes.
func (c *Cluster) All() []*Node {
	var list []*Node
	for _, service := range Services() {
		list = append(list, c.Nodes[service]...)
	}
	return list
}

// Close stops the load balancer first, and then all nodes concurrently.
func (c *Cluster) Close() error {
	var err error
	if c.Balancer != nil {
		err = c.Balancer.Close()
	}
	var stopping errgroup.Group
	for _, n := range c.All() {
		if n.Engine != nil {
			stopping.Go(n.Close)
		}
	}
	return errors.Join(err, stopping.Wait())
}
