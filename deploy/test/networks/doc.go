// Package networks is the network lab: it runs a real server and real clients over bad links and through proxies, and judges that every
// acknowledged message reaches its client, once, in order, and that every client gets on.
//
// A path is what lies between a client and the server: a Link (links.go) and a chain of proxies (behaviours.go, proxies.go), perhaps with a
// Trouble that comes over it while messages are sent (trouble.go). A Client (clients.go) is a program that reads an inbox, or sends, as
// its users would write it: with the Go SDK, the command line, curl, npm packages on Node, or in Chromium. A path and a client are a cell.
// Lab.Run (run.go) runs one: it sends over a clean path, and compares what the client reports with what the server has acknowledged
// (judge.go). Table prints all cells (table.go).
//
// Where the test is root, TestMain runs it again in a network namespace of its own, and each client in another one, so that nothing that
// the lab does to addresses, routes and filters is seen outside, and the kernel removes all of it when the processes end, however they
// end. The link between two namespaces is a pair of virtual devices with tc netem, or, on kernels that do not have netem, a pair of TUN
// devices between which the test passes on the packets and delays and loses them itself (packets_linux.go). Who is not root gets a relay of
// TCP connections (relay.go), which can do everything but lose packets and take an address away: instead, bytes come late, and
// connections go dead.
//
// Delays are reported and never fail a test: machines are slow. A message that is lost, repeated or out of order fails it, and so does a
// client that has got nothing for as long as patience.
//
// How to run it:
//
//	go test ./...                                              a few cells, in two to three minutes
//	SEALPOST_NETWORKS=full go test -timeout 2h ./...           all cells
//	go test -run TestTable -v -networks.only 'nginx default/eventsource@4'    one cell; either side of the slash may be empty
//	LONG=1 go test -run TestTheCrowd -timeout 3h -v ./...      an hour of the crowd on the worst mix; -networks.long 5m is shorter
//
// SEALPOST_NETWORKS is a list of words, separated by commas: full, and required: what is not on this machine and cannot be installed then
// fails a test that else is skipped. SEALPOST_NETWORKS_BUILT names a folder with a server and a command line that are built already, such as
// those of another commit. -networks.links relay|tun|netem chooses the links.
package networks
