package httpapi

import (
	"bytes"
	"encoding/json"
	"iter"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/httpserver"
	"github.com/sealpost/sealpost/pkg/inbox"
)

const (
	// maxPage keeps page times limit within an int64.
	maxPage = 1 << 40
	// flushAt is how many bytes of a page are buffered before they are written: a page of large messages is never in memory whole.
	flushAt = 256 << 10
	// gatherBytes and gatherRecipients bound the content and the recipients of messages that are turned into objects as one batch.
	// A batch reads its receipts with one store call. A page of small messages is one batch.
	gatherBytes      = 1 << 20
	gatherRecipients = 1 << 14
)

// history answers with a page, newest first. It writes the page while it reads it: up to 200 messages of several megabytes each do
// not have to fit in memory.
func (a *API) history(c *gin.Context) error {
	page, window, limit, err := a.window(c)
	if err != nil {
		return err
	}
	w := pageWriter{c: c}
	w.text(`{"messages":[`)
	count := int64(0)
	for items, err := range gathered(a.Inbox.Messages(c.Request.Context(), &window)) {
		var objects []api.Message
		if err == nil {
			objects, err = a.objects(c.Request.Context(), items)
		}
		if err != nil {
			return w.failed(a.errors(), err)
		}
		for _, object := range objects {
			if count > 0 {
				w.text(",")
			}
			w.json(object)
			count++
		}
	}
	w.text("],")
	w.tail(summary(window, page, limit, count))
	w.flush()
	return nil
}

// gathered groups items into the batches that are turned into objects together.
func gathered(items iter.Seq2[inbox.Item, error]) iter.Seq2[[]inbox.Item, error] {
	return func(yield func([]inbox.Item, error) bool) {
		var list []inbox.Item
		bytes, recipients := 0, 0
		for item, err := range items {
			if err != nil {
				yield(nil, err)
				return
			}
			list = append(list, item)
			bytes, recipients = bytes+len(item.Message.Content), recipients+len(item.Message.Recipients)
			if bytes < gatherBytes && recipients < gatherRecipients {
				continue
			}
			if !yield(list, nil) {
				return
			}
			list, bytes, recipients = nil, 0, 0
		}
		if len(list) > 0 {
			yield(list, nil)
		}
	}
}

func (a *API) window(c *gin.Context) (page int64, w inbox.Window, limit int64, err error) {
	if page, err = httpserver.QueryInt(c, "page", 1, 1, maxPage); err != nil {
		return page, w, limit, err
	}
	if limit, err = httpserver.QueryInt(c, "limit", defaultHistoryLimit, 1, api.MaxHistoryLimit); err != nil {
		return page, w, limit, err
	}
	before, err := httpserver.QueryInt(c, "before", 0, 1, 1<<62)
	if err != nil {
		return page, w, limit, err
	}
	user := httpserver.Caller(c).Subject
	if before > 0 {
		w, err = a.Inbox.PageBefore(c.Request.Context(), user, before, limit)
		return 1, w, limit, err
	}
	w, err = a.Inbox.Page(c.Request.Context(), user, page, limit)
	return page, w, limit, err
}

// summary is a page without its messages. The total is a count if the window covers the whole inbox; otherwise it is taken from the
// positions, so that the cost of a page does not grow with the inbox.
func summary(w inbox.Window, page, limit, count int64) api.HistoryResponse {
	s := api.HistoryResponse{CurrentPage: page, TotalMessages: w.Total(), Approximate: true}
	if w.Whole() {
		s.TotalMessages, s.Approximate = count, false
	}
	s.TotalPages = (s.TotalMessages + limit - 1) / limit
	if w.First > 0 && w.Above >= w.First {
		next := w.Above + 1
		s.Before = &next
	}
	return s
}

// pageWriter buffers text and writes it in parts. Until the first part is written, a failure can still be answered.
type pageWriter struct {
	c      *gin.Context
	buffer bytes.Buffer
	out    bool
}

func (w *pageWriter) text(s string) { w.buffer.WriteString(s) }

func (w *pageWriter) json(v any) {
	text, _ := json.Marshal(v) // strings, numbers and times: it cannot fail
	w.buffer.Write(text)
	if w.buffer.Len() >= flushAt {
		w.flush()
	}
}

// tail writes the fields of s that follow the messages.
func (w *pageWriter) tail(s api.HistoryResponse) {
	s.Messages = []api.Message{}
	text, _ := json.Marshal(s)
	w.buffer.Write(bytes.TrimPrefix(text, []byte(`{"messages":[],`)))
}

func (w *pageWriter) flush() {
	if !w.out {
		w.out = true
		w.c.Header("Content-Type", "application/json; charset=utf-8")
		w.c.Status(http.StatusOK)
	}
	// A write to a client that has gone fails; the request's context then ends the reading.
	_ = httpserver.Write(w.c, w.buffer.Bytes())
	w.buffer.Reset()
}

// failed returns the error if it can still be answered. If part of the page is already written, it cuts the connection: half a page
// must not look like a whole one.
func (w *pageWriter) failed(table httpserver.ErrorTable, err error) error {
	if w.out {
		table.Abort(w.c, err)
	}
	return err
}
