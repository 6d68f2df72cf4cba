// Command scrapeconfig writes Prometheus's configuration, by default for docker-compose.yml:
//
//	scrapeconfig [-interval 15s] [-rules GLOB] [-cluster C] [-namespace N] FILE [JOB=HOST:PORT,HOST:PORT…]…
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/sealpost/sealpost/deploy/prometheus/scrape"
)

func main() {
	if err := write(os.Args[1:], os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func write(args []string, usage io.Writer) error {
	o := scrape.Compose()
	flags := flag.NewFlagSet("scrapeconfig", flag.ContinueOnError)
	flags.SetOutput(usage)
	flags.DurationVar(&o.Interval, "interval", o.Interval, "how often nodes are scraped and rules evaluated")
	flags.StringVar(&o.Rules, "rules", o.Rules, "glob of the rule files")
	flags.StringVar(&o.Cluster, "cluster", o.Cluster, "label of all nodes")
	flags.StringVar(&o.Namespace, "namespace", o.Namespace, "label of all nodes")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() == 0 {
		return errors.New("usage: scrapeconfig [flags] FILE [JOB=HOST:PORT,HOST:PORT…]…")
	}
	for i, job := range flags.Args()[1:] {
		name, targets, found := strings.Cut(job, "=")
		if !found {
			return fmt.Errorf("%q is not JOB=HOST:PORT,HOST:PORT…", job)
		}
		if i == 0 {
			o.Jobs = nil
		}
		o.Jobs = append(o.Jobs, scrape.Job{Name: name, Targets: strings.Split(targets, ",")})
	}
	text, err := scrape.Config(o)
	if err != nil {
		return err
	}
	return os.WriteFile(flags.Arg(0), text, 0o644) //nolint:gosec // anybody may read it
}
