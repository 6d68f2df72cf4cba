package redisseq

import (
	"context"
	_ "embed"
	"errors"
	"math"

	"github.com/redis/go-redis/v9"
)

const prefix = "sealpost:seq:"

func key(user string) string { return prefix + user }

//go:embed script.lua
var scriptText string

var script = redis.NewScript(scriptText)

var errAnswer = errors.New("unexpected answer of the Redis script")

// Redis returns the Engine that runs the script on Redis.
func Redis(client redis.UniversalClient) Engine { return engine{client} }

type engine struct{ client redis.UniversalClient }

// Run implements Engine. It pipelines the runs. If a server does not have the script, Run sends it.
func (e engine) Run(ctx context.Context, runs []Run) ([]Answer, error) {
	answers := make([]Answer, len(runs))
	todo := make([]int, len(runs))
	for i := range runs {
		todo[i] = i
	}
	for _, eval := range []func(p redis.Pipeliner, keys []string, args ...any) *redis.Cmd{
		func(p redis.Pipeliner, keys []string, args ...any) *redis.Cmd {
			return script.EvalSha(ctx, p, keys, args...)
		},
		func(p redis.Pipeliner, keys []string, args ...any) *redis.Cmd {
			return script.Eval(ctx, p, keys, args...)
		},
	} {
		commands := make([]*redis.Cmd, len(todo))
		_, _ = e.client.Pipelined(ctx, func(p redis.Pipeliner) error {
			for i, run := range todo {
				keys, args := runs[run].words()
				commands[i] = eval(p, keys, args...)
			}
			return nil
		}) // each command has its own error
		var unknown []int
		for i, run := range todo {
			var err error
			answers[run], err = answerOf(commands[i], len(runs[run].Counters))
			if redis.HasErrorPrefix(err, "NOSCRIPT") {
				unknown = append(unknown, run)
			} else if err != nil {
				return nil, err
			}
		}
		if todo = unknown; len(todo) == 0 {
			return answers, nil
		}
	}
	return nil, errAnswer // the server got the script itself and still does not know it
}

// words returns the keys and arguments for the script.
func (r Run) words() (keys []string, args []any) {
	args = append(args, r.Believed.Replication, r.Lifetime.Milliseconds(), r.Mark)
	for _, c := range r.Counters {
		keys = append(keys, key(c.User))
		args = append(args, c.Count, c.Tail, c.Settled)
	}
	return keys, args
}

func answerOf(command *redis.Cmd, counters int) (Answer, error) {
	list, err := command.Slice()
	if err != nil {
		return Answer{}, err
	}
	if len(list) != 2+2*counters {
		return Answer{}, errAnswer
	}
	role, isRole := list[0].(string)
	id, isID := list[1].(string)
	if !isRole || !isID || id == "" {
		return Answer{}, errAnswer
	}
	a := Answer{By: Server{Replication: id, Replica: role != "master"}, Last: make([]int64, counters), Marks: make([]uint32, counters)}
	for i := range counters {
		last, isLast := list[2+2*i].(int64)
		mark, isMark := list[3+2*i].(int64)
		if !isLast || !isMark || mark < 0 || mark > math.MaxUint32 {
			return Answer{}, errAnswer
		}
		a.Last[i], a.Marks[i] = last, uint32(mark)
	}
	return a, nil
}
