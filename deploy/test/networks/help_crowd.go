package networks

import (
	"bufio"
	"context"
	"os"
	"time"

	"github.com/sealpost/sealpost/deploy/test/blackbox/historycheck/crowd"
)

// CrowdReport is what the crowd's process prints: how far it is, and at the end what it says.
type CrowdReport struct {
	// Ready: everybody is registered.
	Ready        bool   `json:"ready,omitempty"`
	Acknowledged int64  `json:"acknowledged,omitempty"`
	Verdict      string `json:"verdict,omitempty"`
	Faults       int    `json:"faults,omitempty"`
}

const (
	// crowdUsers is one of each kind but the last, which keeps neither a cursor nor cookies: of what a proxy has repeated or a dead network
	// has held, nobody can know whether it reached such a client.
	crowdUsers   = 7
	crowdSenders = 5
	crowdPause   = 4 * time.Second
	crowdSays    = 5 * time.Second
)

// crowd runs the crowd of blackbox from its first line of input, by which time its path may become bad, to the second.
func (h helping) crowd(ctx context.Context) error {
	c, err := crowd.New(ctx, crowd.Options{
		URL: h.url, Users: crowdUsers, Senders: crowdSenders, Pause: crowdPause, MaxRecipients: 3, Prefix: "Crowd",
	})
	if err != nil {
		return err
	}
	if err := h.out.Encode(CrowdReport{Ready: true}); err != nil {
		return err
	}
	told := make(chan struct{})
	go func() {
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			told <- struct{}{}
		}
	}()
	<-told
	c.Start()
	says := time.NewTicker(crowdSays)
	defer says.Stop()
	for ended := false; !ended; {
		select {
		case <-told:
			ended = true
		case <-says.C:
			if err := h.out.Encode(CrowdReport{Acknowledged: c.Acknowledged()}); err != nil {
				return err
			}
		}
	}
	r := c.Finish()
	return h.out.Encode(CrowdReport{Acknowledged: c.Acknowledged(), Verdict: r.String(), Faults: len(r.Faults)})
}
