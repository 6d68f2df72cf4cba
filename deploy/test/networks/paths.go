package networks

import (
	"net/http"
	"sync/atomic"
	"time"
)

// Path is what lies between a client and the server.
type Path struct {
	Name  string
	Shape Shape
	// Hops are the proxies, the one next to the server first.
	Hops []Hop
	// Needs are the programs that they are.
	Needs []string
	// Trouble may be nil.
	Trouble Trouble
	// Quiet is the pause after some messages, in which clients wait for what a proxy may do to waiting requests.
	Quiet time.Duration
	// Wait is how long a poll asks to wait, of clients that can be told; 25 s if it is 0.
	Wait time.Duration
	// Short paths are in the small part of the table.
	Short bool
}

// Paths are the rows of the table.
func Paths() []Path { return append(linkPaths(), proxyPaths()...) }

func linkPaths() []Path {
	const shortSleep, longSilence = 20 * time.Second, 60 * time.Second
	return []Path{
		{Name: "direct", Short: true},
		{Name: "64 kbit/s", Shape: Shape{Rate: 64_000, Delay: 50 * time.Millisecond}},
		{Name: "1 Mbit/s 3% loss", Shape: Shape{Rate: 1_000_000, Delay: 20 * time.Millisecond, Loss: 0.03}, Short: true},
		{Name: "2 s latency", Shape: Shape{Delay: time.Second}},
		{Name: "silent to client 20 s", Trouble: Silent(true, false, shortSleep), Short: true},
		{Name: "silent to client 60 s", Trouble: Silent(true, false, longSilence)},
		{Name: "silent to server 60 s", Trouble: Silent(false, true, longSilence)},
		{Name: "address changes", Trouble: Moves(2, 10*time.Second)},
		{Name: "sleeps 20 s", Trouble: Sleeps(shortSleep), Short: true},
		{Name: "idle cut at 10 s", Shape: Shape{Idle: 10 * time.Second}, Quiet: 12 * time.Second, Trouble: Lasts(30 * time.Second)},
	}
}

func proxyPaths() []Path {
	const wait = 60 * time.Second // longer than the proxies' patience
	bad := new(atomic.Bool)
	bad.Store(true)
	return []Path{
		{Name: "buffers 30 s", Hops: []Hop{Own(Buffers(30 * time.Second))}},
		{Name: "HTML 502", Hops: []Hop{Own(AnswersHTML(5, http.StatusBadGateway))}, Short: true},
		{Name: "HTML 200", Hops: []Hop{Own(AnswersHTML(5, http.StatusOK))}},
		{Name: "repeats", Hops: []Hop{Own(Repeats(2))}, Short: true},
		{Name: "cuts at 3 s", Hops: []Hop{Own(Cuts(3 * time.Second))}, Quiet: 4 * time.Second, Short: true},
		{Name: "cuts at 30 s", Hops: []Hop{Own(Cuts(30 * time.Second))}, Quiet: 33 * time.Second, Wait: wait, Trouble: Lasts(70 * time.Second)},
		{Name: "cuts at 60 s", Hops: []Hop{Own(Cuts(60 * time.Second))}, Quiet: 63 * time.Second, Wait: wait, Trouble: Lasts(130 * time.Second)},
		{Name: "HTTP/1.0", Hops: []Hop{Own(SpeaksHTTP10())}},
		{Name: "HAProxy ours", Hops: []Hop{OurHAProxy}, Needs: []string{HAProxy}, Short: true},
		{Name: "HAProxy default", Hops: []Hop{DefaultHAProxy}, Needs: []string{HAProxy}, Quiet: 52 * time.Second, Wait: wait, Trouble: Lasts(60 * time.Second)},
		{Name: "nginx default", Hops: []Hop{DefaultNginx}, Needs: []string{Nginx}, Short: true},
		{Name: "nginx good", Hops: []Hop{GoodNginx}, Needs: []string{Nginx}},
		{Name: "nginx default > HAProxy ours", Hops: []Hop{OurHAProxy, DefaultNginx}, Needs: []string{HAProxy, Nginx}},
		{Name: "HAProxy default > nginx default", Hops: []Hop{DefaultNginx, DefaultHAProxy}, Needs: []string{HAProxy, Nginx}},
		{Name: "HAProxy ours > nginx good", Hops: []Hop{GoodNginx, OurHAProxy}, Needs: []string{HAProxy, Nginx}},
		worst(bad),
	}
}

// worst is the path of the crowd's hour: a slow link that loses, and five proxies, each with its own way to spoil things. Those of the lab's
// own begin when bad is set.
func worst(bad *atomic.Bool) Path {
	return Path{
		Name: "the worst", Shape: Shape{Rate: 512_000, Delay: 150 * time.Millisecond, Loss: 0.03},
		Hops: []Hop{
			OurHAProxy, DefaultNginx, Own(When(bad, Repeats(7))),
			Own(When(bad, Cuts(30*time.Second))), Own(When(bad, AnswersHTML(23, http.StatusBadGateway))),
		},
		Needs: []string{HAProxy, Nginx}, Trouble: Moves(2, 5*time.Second),
	}
}
