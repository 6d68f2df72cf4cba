package httpserver_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"

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
		r.POST("/send", httpserver.LimitBodies(2*size*httpserver.BodyCopies, 2*size), httpserver.ErrorTable{}.Handle(func(c *gin.Context) error {
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
		r.GET("/page", httpserver.LimitAtOnce(1), func(c *gin.Context) {
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
