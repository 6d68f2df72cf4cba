package simulation_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/deploy/test/simulation"
)

// workerVar makes the test binary a worker that runs the seeds it reads from its input, one a line.
const workerVar = "SIMULATION_WORKER"

// TestMain gives every process one processor, so that the seed decides the order, not the scheduler.
func TestMain(m *testing.M) {
	gin.SetMode(gin.ReleaseMode)
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(400)
	os.Exit(m.Run())
}

// run makes one run in its own bubble.
func run(t *testing.T, p simulation.Plan, traced bool) (r simulation.Result) {
	defer func() {
		if panicked := recover(); panicked != nil {
			r = simulation.Result{Plan: p, Faults: []string{fmt.Sprint("panic: ", panicked)}}
		}
	}()
	stuck := time.AfterFunc(time.Minute, func() {
		debug.SetTraceback("all")
		panic(fmt.Sprintf("seed %d does not end: a goroutine spins, or holds a mutex while it waits", p.Seed))
	})
	defer stuck.Stop()
	synctest.Test(t, func(*testing.T) { r = simulation.Run(p, traced) })
	return r
}

// outcome is what a worker reports of a run.
type outcome struct {
	Counts map[string]int
	Seed   uint64
	Faults string
	Kinds  []string
}

// TestWorker is the other side of TestNothingIsLostWhateverFails.
func TestWorker(t *testing.T) {
	if os.Getenv(workerVar) == "" {
		t.Skip("it is started by the other test")
	}
	in, out := bufio.NewScanner(os.Stdin), json.NewEncoder(os.Stdout)
	for in.Scan() {
		seed, err := strconv.ParseUint(in.Text(), 10, 64)
		require.NoError(t, err)
		r := run(t, simulation.Draw(seed), false)
		o := outcome{Counts: r.Counts, Seed: seed}
		if r.Failed() {
			o.Faults, o.Kinds = r.String(), r.Classes()
		}
		require.NoError(t, out.Encode(o))
	}
}

// seeds hands out seeds until none are left.
type seeds struct {
	mu    sync.Mutex
	next  uint64
	left  int
	until time.Time
}

func (s *seeds) take() (uint64, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left == 0 || (!s.until.IsZero() && time.Now().After(s.until)) {
		return 0, false
	}
	s.left--
	s.next++
	return s.next - 1, true
}

// worker runs seeds in its own process until none are left, and reports each.
func worker(s *seeds, tell func(outcome)) error {
	c := exec.Command(os.Args[0], "-test.run=^TestWorker$", "-test.timeout=0")
	c.Env = append(os.Environ(), workerVar+"=1")
	c.Stderr = os.Stderr
	in, err := c.StdinPipe()
	if err != nil {
		return err
	}
	out, err := c.StdoutPipe()
	if err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return err
	}
	results := json.NewDecoder(out)
	for {
		seed, more := s.take()
		if !more {
			break
		}
		if _, err := fmt.Fprintln(in, seed); err != nil {
			return fmt.Errorf("seed %d: %w", seed, err)
		}
		var o outcome
		if err := results.Decode(&o); err != nil {
			rest, _ := io.ReadAll(io.MultiReader(results.Buffered(), out))
			return fmt.Errorf("seed %d: the process has ended: %w: %s", seed, err, rest)
		}
		tell(o)
	}
	_ = in.Close()
	return c.Wait()
}

func number(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err, name)
	return n
}

// TestNothingIsLostWhateverFails runs SEEDS seeds, or as many as SIM_TIME allows, on WORKERS processes. The seeds are new each time, unless
// FIRST_SEED is set.
func TestNothingIsLostWhateverFails(t *testing.T) {
	if os.Getenv("SEED") != "" || os.Getenv(workerVar) != "" {
		t.Skip("one seed is replayed")
	}
	s := &seeds{next: rand.Uint64N(1 << 40), left: number(t, "SEEDS", -1)}
	if first := number(t, "FIRST_SEED", -1); first >= 0 {
		s.next = uint64(first)
	}
	if s.left < 0 {
		length, err := time.ParseDuration(os.Getenv("SIM_TIME"))
		if err != nil {
			length = 20 * time.Second
		}
		s.until = time.Now().Add(length)
	}
	began, total := time.Now(), map[string]int{}
	kinds := map[string][]uint64{}
	var failed []outcome
	var mu sync.Mutex
	var workers sync.WaitGroup
	for range number(t, "WORKERS", 2) {
		workers.Go(func() {
			err := worker(s, func(o outcome) {
				mu.Lock()
				defer mu.Unlock()
				simulation.Total(total, o.Counts)
				if o.Faults != "" { // told at once: the run may go on for an hour
					failed = append(failed, o)
					t.Logf("seed %d failed, after %s", o.Seed, time.Since(began).Round(time.Second))
				}
				for _, k := range o.Kinds {
					kinds[k] = append(kinds[k], o.Seed)
				}
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	workers.Wait()
	t.Logf("%d runs in %s, %d failed\n%s", total["runs"], time.Since(began).Round(time.Second), len(failed), simulation.Table(total))
	for k, list := range kinds {
		t.Logf("%6d × %s: seeds %v", len(list), k, list[:min(5, len(list))])
	}
	if len(failed) > 0 {
		t.Errorf("%s\nto see it again: make simulate SEED=%d", failed[0].Faults, failed[0].Seed)
	}
}

// TestOneSeed replays SEED with the faults and rates in FAULTS and RATES, prints what happened, and shrinks it.
func TestOneSeed(t *testing.T) {
	text := os.Getenv("SEED")
	if text == "" {
		t.Skip("no SEED")
	}
	seed, err := strconv.ParseUint(text, 10, 64)
	require.NoError(t, err)
	choice, err := simulation.ParseChoice(os.Getenv("FAULTS"), os.Getenv("RATES"))
	require.NoError(t, err)
	plan := simulation.Draw(seed)
	r := run(t, plan.Kept(choice), true)
	if file := os.Getenv("TRACE"); file != "" {
		f, err := os.Create(file)
		require.NoError(t, err)
		for _, line := range r.Trace {
			_, _ = fmt.Fprintln(f, line)
		}
		require.NoError(t, f.Close())
	}
	if !r.Failed() {
		t.Logf("seed %d is clean\n%s", seed, r.Plan)
		return
	}
	classes := r.Classes()
	if kind := os.Getenv("KIND"); kind != "" {
		classes = []string{kind}
	}
	t.Errorf("%s", r)
	if again := number(t, "AGAIN", 0); again > 0 {
		same := 0
		for range again {
			if run(t, plan.Kept(choice), false).Shares(classes) {
				same++
			}
		}
		t.Logf("%d of %d replays failed in the same way", same, again)
	}
	if os.Getenv("SHRINK") == "no" || choice.Faults != nil {
		return
	}
	least := simulation.Shrink(plan, func(c simulation.Choice) bool { return run(t, plan.Kept(c), false).Shares(classes) })
	t.Logf("shrunk to: make simulate SEED=%d%s\n%s", seed, least, run(t, plan.Kept(least), false))
}
