package httpserver_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/admission"
	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/httpserver"
)

// busy requires the answer of an overloaded server.
func busy(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	require.Equal(t, api.CodeAtCapacity, fault(t, w).Code)
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	require.NotEmpty(t, w.Header().Get("Retry-After"))
}

// TestBodiesUnderWayHaveABoundTogether: they count from their arrival until their requests are answered.
func TestBodiesUnderWayHaveABoundTogether(t *testing.T) {
	const size = 1000
	hold, held := make(chan struct{}), make(chan struct{})
	rig := newRig(t, httpserver.Config{}, func(r gin.IRouter) {
		r.POST("/send", httpserver.LimitBodies(admission.New(admission.Config{Size: 2 * size * httpserver.BodyCopies})), httpserver.ErrorTable{}.Handle(func(c *gin.Context) error {
			var body struct{ Text string }
			if err := httpserver.DecodeJSON(c, &body); err != nil {
				return err
			}
			if strings.HasPrefix(body.Text, "hold") {
				held <- struct{}{}
				<-hold
			}
			c.Status(http.StatusNoContent)
			return nil
		}))
	})
	body := func(text string) string {
		return `{"text":"` + text + strings.Repeat("x", size-len(text)-len(`{"text":""}`)) + `"}`
	}
	var holding sync.WaitGroup
	for range 2 {
		holding.Go(func() { rig.post("/send", "application/json", body("hold")) })
		<-held
	}
	busy(t, rig.post("/send", "application/json", body("")))
	close(hold)
	holding.Wait()
	require.Equal(t, http.StatusNoContent, rig.post("/send", "application/json", body("")).Code)

	slow, pipe := io.Pipe()
	answered := make(chan int)
	go func() {
		req := httptest.NewRequest(http.MethodPost, "/send", slow)
		req.Header.Set("Content-Type", "application/json")
		answered <- rig.do(req).Code
	}()
	_, err := io.WriteString(pipe, `{"text":"a slow `)
	require.NoError(t, err)
	for range 3 {
		require.Equal(t, http.StatusNoContent, rig.post("/send", "application/json", body("")).Code, "what has not arrived keeps nobody out")
	}
	_, err = io.WriteString(pipe, `one"}`)
	require.NoError(t, err)
	require.NoError(t, pipe.Close())
	require.Equal(t, http.StatusNoContent, <-answered)
}

func TestRequestsAtOnceHaveABound(t *testing.T) {
	hold, held := make(chan struct{}), make(chan struct{})
	rig := newRig(t, httpserver.Config{}, func(r gin.IRouter) {
		r.GET("/page", httpserver.LimitAtOnce(admission.New(httpserver.RequestBound(1))), func(c *gin.Context) {
			if c.Query("hold") != "" {
				held <- struct{}{}
				<-hold
			}
			c.Status(http.StatusNoContent)
		})
	})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		rig.get("/page?hold=1")
	}()
	<-held
	busy(t, rig.get("/page"))
	close(hold)
	<-ended
	require.Equal(t, http.StatusNoContent, rig.get("/page").Code)
}

// behindProxy is a client of a server that trusts this host's X-Forwarded-For.
func behindProxy(t *testing.T, address, method, url string, body io.Reader) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	require.NoError(t, err)
	req.Header.Set("X-Forwarded-For", address)
	req.Header.Set("Content-Type", "application/json")
	return req
}

// patience is for what should come soon.
const patience = time.Minute

var trusting = httpserver.Config{TrustedProxies: []string{"127.0.0.1/32"}}

// TestABodyThatIsWithheldMakesRoom: else a few clients that send all but the end of large bodies would keep everybody out.
func TestABodyThatIsWithheldMakesRoom(t *testing.T) {
	const room = 300 << 10
	memory := admission.New(admission.Config{Size: room})
	r := newRig(t, trusting, func(r gin.IRouter) {
		r.POST("/send", httpserver.LimitBody(1<<20), httpserver.LimitBodies(memory), httpserver.ErrorTable{}.Handle(func(c *gin.Context) error {
			var body struct{ Text string }
			if err := httpserver.DecodeJSON(c, &body); err != nil {
				return err
			}
			c.Status(http.StatusNoContent)
			return nil
		}))
	})
	url := "http://" + r.server.Address() + "/send"
	part, rest := io.Pipe()
	withheld := make(chan *http.Response, 1)
	go func() {
		res, err := http.DefaultClient.Do(behindProxy(t, "192.0.2.1", http.MethodPost, url, part)) //nolint:bodyclose // below
		if err == nil {
			withheld <- res
		}
		close(withheld)
	}()
	_, err := io.WriteString(rest, `{"text":"`+strings.Repeat("x", 90<<10))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return memory.Held() > room-40<<10 }, patience, time.Millisecond)
	res, err := http.DefaultClient.Do(behindProxy(t, "198.51.100.1", http.MethodPost, url, strings.NewReader(`{"text":"`+strings.Repeat("y", 20<<10)+`"}`)))
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Equal(t, http.StatusNoContent, res.StatusCode)
	lost := <-withheld
	require.NotNil(t, lost)
	require.Equal(t, http.StatusServiceUnavailable, lost.StatusCode)
	require.NotEmpty(t, lost.Header.Get("Retry-After"))
	require.NoError(t, lost.Body.Close())
	require.NoError(t, rest.Close())
	require.Eventually(t, func() bool { return memory.Held() == 0 }, patience, time.Millisecond)
}

// TestAnAnswerThatIsNotReadMakesRoom, and does not look whole: else slow readers would keep everybody from the pages.
func TestAnAnswerThatIsNotReadMakesRoom(t *testing.T) {
	r := newRig(t, trusting, func(r gin.IRouter) {
		r.GET("/page", httpserver.LimitAtOnce(admission.New(httpserver.RequestBound(1))), func(c *gin.Context) {
			part := make([]byte, 1<<20)
			for range 64 { // more than the kernel takes; a handler need not look at errors
				_ = httpserver.Write(c, part)
			}
		})
	})
	url := "http://" + r.server.Address() + "/page"
	stuck, err := http.DefaultClient.Do(behindProxy(t, "192.0.2.1", http.MethodGet, url, nil))
	require.NoError(t, err)
	defer func() { require.NoError(t, stuck.Body.Close()) }()
	require.Equal(t, http.StatusOK, stuck.StatusCode)
	require.Eventually(t, func() bool {
		res, err := http.DefaultClient.Do(behindProxy(t, "198.51.100.1", http.MethodGet, url, nil))
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, res.Body)
		require.NoError(t, errors.Join(err, res.Body.Close()))
		return res.StatusCode == http.StatusOK
	}, patience, 10*time.Millisecond)
	_, err = io.Copy(io.Discard, stuck.Body)
	require.Error(t, err)
}

// TestAnswersThatAreNotReadHaveABound: who leaves most unread makes room.
func TestAnswersThatAreNotReadHaveABound(t *testing.T) {
	const size = 16 << 20 // more than kernels take
	text := strings.Repeat("x", size)
	unread := admission.New(httpserver.AnswerBound(size + size/4))
	r := newRig(t, trusting, func(r gin.IRouter) {
		r.GET("/page/:size", httpserver.LimitAnswers(unread), func(c *gin.Context) {
			n, err := strconv.Atoi(c.Param("size"))
			require.NoError(t, err)
			_ = httpserver.JSON(c, http.StatusOK, text[:n])
		})
	})
	// get leaves the body of an answer unread until the test ends.
	get := func(address string, size int) (status int, body io.Reader) {
		url := fmt.Sprintf("http://%s/page/%d", r.server.Address(), size)
		res, err := http.DefaultClient.Do(behindProxy(t, address, http.MethodGet, url, nil))
		require.NoError(t, err)
		t.Cleanup(func() { _ = res.Body.Close() })
		return res.StatusCode, res.Body
	}
	status, stuck := get("192.0.2.1", size)
	require.Equal(t, http.StatusOK, status)
	status, _ = get("192.0.2.1", size/8)
	require.Equal(t, http.StatusServiceUnavailable, status, "more than its share")
	status, _ = get("198.51.100.1", size/8)
	require.Equal(t, http.StatusOK, status, "there is room")
	require.Eventually(t, func() bool {
		status, _ := get("203.0.113.1", size/2)
		return status == http.StatusOK
	}, patience, 10*time.Millisecond)
	_, err := io.Copy(io.Discard, stuck)
	require.Error(t, err)
}
