// Command bench measures a deployment that it starts, and the code, and prints medians: see package bench.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/sealpost/sealpost/deploy/test/bench"
)

func main() {
	o := bench.Options{UnderWay: []int{8, 64}}
	flag.StringVar(&o.Root, "root", ".", "folder of the workspace")
	flag.StringVar(&o.Bin, "bin", "bin", "folder of the executables")
	flag.StringVar(&o.Against, "against", "", "commit whose servers are measured as well, in alternation with today's, and compared")
	flag.IntVar(&o.Runs, "runs", 5, "how often everything is repeated")
	flag.BoolVar(&o.Code, "code", true, "run the Go benchmarks")
	flag.BoolVar(&o.Standalone, "standalone", true, "put load on the standalone server")
	flag.BoolVar(&o.Cluster, "cluster", true, "put load on a whole cluster, with its engines")
	flag.DurationVar(&o.Duration, "duration", 5*time.Second, "how long each scenario is measured")
	flag.DurationVar(&o.BenchTime, "benchtime", time.Second, "how long each Go benchmark runs")
	flag.IntVar(&o.Polls, "polls", 18_000, "how many idle polls are parked: a process needs as many open files, and some")
	flag.IntVar(&o.Streams, "streams", 4_000, "how many idle streams are held")
	flag.IntVar(&o.Gateways, "gateways", 2, "how many nodes of each service a cluster has; idle polls and streams go to the gateways themselves")
	flag.Func("under-way", "throughput: how many sends are under way at once (default 8,64)", func(text string) (err error) {
		o.UnderWay, err = numbers(text)
		return err
	})
	flag.Func("only", "throughput: regular expression for the scenarios, as \"one other, polls\" (default all)", func(text string) (err error) {
		o.Only, err = regexp.Compile(text)
		return err
	})
	flag.StringVar(&o.Parts, "parts", bench.UsualParts, "what is measured, of "+bench.AllParts)
	flag.IntVar(&o.Inbox, "inbox", 1_000_000, "inbox: how many messages are compared with 1000")
	flag.IntVar(&o.Accounts, "accounts", 100_000, "accounts: how many are compared with 100")
	flag.StringVar(&o.Reports, "reports", "", "folder for a page with plots of each scenario; by default none")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := bench.Run(ctx, o, os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func numbers(text string) (list []int, err error) {
	for field := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(field)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("%q is not a list of numbers", text)
		}
		list = append(list, n)
	}
	return list, nil
}
