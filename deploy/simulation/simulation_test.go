package simulation_test

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/sealpost/sealpost/deploy/simulation"
)

func TestMain(m *testing.M) {
	gin.SetMode(gin.ReleaseMode)
	os.Exit(m.Run())
}

// run makes one run in a bubble of its own.
func run(t *testing.T, p simulation.Plan, traced bool) (r simulation.Result) {
	defer func() {
		if panicked := recover(); panicked != nil {
			r = simulation.Result{Plan: p, Faults: []string{fmt.Sprint("panic: ", panicked)}}
		}
	}()
	synctest.Test(t, func(*testing.T) { r = simulation.Run(p, traced) })
	return r
}

func TestFirst(t *testing.T) {
	seed, _ := strconv.ParseUint(os.Getenv("SEED"), 10, 64)
	n, _ := strconv.Atoi(os.Getenv("SEEDS"))
	total := map[string]int{}
	began := time.Now()
	failed := 0
	for i := range max(n, 1) {
		r := run(t, simulation.Draw(seed+uint64(i)), os.Getenv("TRACE") != "")
		simulation.Total(total, r.Counts)
		if os.Getenv("TRACE") != "" {
			for _, l := range r.Trace {
				fmt.Println(l)
			}
		}
		if r.Failed() {
			failed++
			fmt.Println(r)
		}
	}
	fmt.Println(failed, "failed", time.Since(began), "\n", simulation.Table(total))
}
