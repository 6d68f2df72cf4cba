package cluster_test

import (
	"testing"
)

func TestACrowdIsServedWhileNothingFails(t *testing.T) {
	r := newRig(t, options{})
	c := r.crowdOf(20)
	c.Start()
	moreSends(t, c, 500)
	judge(t, c, 500)
}
