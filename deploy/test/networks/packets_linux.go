package networks

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync/atomic"
)

// packets is a link between this namespace and one of the client's own.
type packets struct {
	client *namespace
	// shaper passes on the packets; nil if the kernel does.
	shaper *shaper
	// near and far are the devices at this end and at the client's.
	near, far string
	subnet    string
	port      int
	// host is the last part of the client's address.
	host int
}

// links numbers the links of this process: for the names of devices, and subnets.
var links atomic.Int64

// subnets is how many links can be open at the same time.
const subnets = 16_000

func openPackets(kind string, port int, s Shape) (Link, error) {
	n := int(links.Add(1) % subnets)
	l := &packets{
		near: fmt.Sprint("near", n), far: fmt.Sprint("far", n), port: port, host: 1,
		subnet: fmt.Sprintf("10.%d.%d.", 64+n/250, n%250),
	}
	var err error
	if l.client, err = newNamespace(); err != nil {
		return nil, err
	}
	if kind == NetemLink {
		err = l.connectNetem(s)
	} else {
		err = l.connectTun(s)
	}
	if err == nil {
		err = run("ip", "addr", "add", l.subnet+"1/24", "dev", l.near)
	}
	if err == nil {
		err = l.up()
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// connectTun makes a TUN device at each end, and a shaper between them.
func (l *packets) connectTun(s Shape) error {
	near, err := openTun(l.near)
	if err != nil {
		return err
	}
	far, err := openTun(l.far)
	if err != nil {
		return errors.Join(err, near.Close())
	}
	l.shaper = newShaper(near, far, s)
	return run("ip", "link", "set", l.far, "netns", l.client.pid())
}

// connectNetem makes a pair of virtual Ethernet devices, each of which shapes what it sends.
func (l *packets) connectNetem(s Shape) error {
	if err := run("ip", "link", "add", l.near, "type", "veth", "peer", "name", l.far, "netns", l.client.pid()); err != nil {
		return err
	}
	return errors.Join(run("tc", netem(l.near, s)...), l.client.run("tc", netem(l.far, s)...))
}

// netem are the arguments of tc that make a device shape what it sends.
func netem(device string, s Shape) []string {
	args := []string{"qdisc", "add", "dev", device, "root", "netem", "limit", fmt.Sprint(queuePackets(s))}
	if s.Delay > 0 {
		args = append(args, "delay", fmt.Sprintf("%dms", s.Delay.Milliseconds()))
	}
	if s.Loss > 0 {
		args = append(args, "loss", fmt.Sprintf("%g%%", 100*s.Loss))
	}
	if s.Rate > 0 {
		args = append(args, "rate", fmt.Sprintf("%dbit", s.Rate))
	}
	return args
}

// up starts both devices, and gives the client its next address.
func (l *packets) up() error {
	l.host++
	return errors.Join(run("ip", "link", "set", l.near, "up"), l.client.run("ip", "link", "set", l.far, "up"),
		l.client.run("ip", "addr", "add", fmt.Sprintf("%s%d/24", l.subnet, l.host), "dev", l.far))
}

func (l *packets) Address() string { return fmt.Sprintf("%s1:%d", l.subnet, l.port) }

func (l *packets) Place(cmd *exec.Cmd) error { return l.client.enter(cmd) }

func (l *packets) Silence(towardsClient, towardsServer bool) error {
	if err := l.client.run("iptables", "-w", "-F"); err != nil {
		return err
	}
	if towardsClient {
		if err := l.client.run("iptables", "-w", "-A", "INPUT", "-i", l.far, "-j", "DROP"); err != nil {
			return err
		}
	}
	if towardsServer {
		return l.client.run("iptables", "-w", "-A", "OUTPUT", "-o", l.far, "-j", "DROP")
	}
	return nil
}

func (l *packets) Readdress() error {
	if err := l.client.run("ip", "addr", "flush", "dev", l.far); err != nil {
		return err
	}
	return l.up()
}

// Close removes the namespace, and the devices with it.
func (l *packets) Close() error {
	var faults []error
	if l.shaper != nil {
		faults = append(faults, l.shaper.close())
	} else if _, err := os.Stat("/sys/class/net/" + l.near); err == nil {
		faults = append(faults, run("ip", "link", "del", l.near))
	}
	return errors.Join(append(faults, l.client.end())...)
}

// BestLink is the best kind of link that this machine can make.
func BestLink() string {
	if !Isolated() {
		return RelayLink
	}
	for _, kind := range []string{NetemLink, TunLink} {
		if l, err := openPackets(kind, 0, Shape{}); err == nil && l.Silence(false, false) == nil && l.Close() == nil {
			return kind
		}
	}
	return RelayLink
}

// openLoopback starts the loopback device of a namespace that Isolate has made.
func openLoopback() error {
	if !Isolated() {
		return nil
	}
	return run("ip", "link", "set", "lo", "up")
}
