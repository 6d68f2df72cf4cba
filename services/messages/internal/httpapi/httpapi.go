// Package httpapi is the messages service's part of the HTTP contract.
package httpapi

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/gin-gonic/gin"

	"github.com/sealpost/sealpost/pkg/admission"
	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/bus"
	"github.com/sealpost/sealpost/pkg/delivery"
	"github.com/sealpost/sealpost/pkg/httpserver"
	"github.com/sealpost/sealpost/pkg/inbox"
	"github.com/sealpost/sealpost/pkg/ratelimit"
	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/services/messages/internal/messaging"
)

const (
	defaultHistoryLimit = 50
	idempotencyHeader   = "Idempotency-Key"
)

// Stats covers all nodes.
type Stats interface {
	Stats(ctx context.Context) (api.StatusStats, error)
}

// API answers sends, history, receipts and status.
type API struct {
	Messages *messaging.Service
	Inbox    *inbox.Reader
	Nodes    Stats
	Tokens   httpserver.TokenChecker
	// SendLimit bounds sends, ReadLimit everything else, both per user.
	SendLimit, ReadLimit ratelimit.Limiter
	MaxBodyBytes         int64
	// Sending is the memory for all sends under way, Pages the number of history pages under way.
	Sending, Pages *admission.Pool
}

// Routes adds the service's routes.
func (a *API) Routes(r gin.IRouter) {
	table := a.errors()
	token := httpserver.RequireToken(a.Tokens)
	r.POST("/api/messages/send", token, httpserver.LimitUser(a.SendLimit), httpserver.LimitBody(a.MaxBodyBytes),
		httpserver.LimitBodies(a.Sending), table.Handle(a.send))
	reads := r.Group("/api/messages", token, httpserver.LimitUser(a.ReadLimit))
	pages := httpserver.LimitAtOnce(a.Pages)
	reads.GET("/history", pages, table.Handle(a.history))
	reads.GET("/all-messages", pages, table.Handle(a.history))
	reads.GET("/status", table.Handle(a.status))
	reads.GET("/:messageId", table.Handle(a.message))
	reads.POST("/:messageId/read", table.Handle(a.markRead))
}

func (a *API) errors() httpserver.ErrorTable {
	return append(httpserver.TokenErrors(),
		httpserver.ErrorRow{Err: inbox.ErrNotFound, Answer: httpserver.Always(http.StatusNotFound, api.CodeMessageNotFound, "there is no such message")},
		httpserver.ErrorRow{Err: store.ErrBadMessageID, Answer: httpserver.Always(http.StatusNotFound, api.CodeMessageNotFound, "there is no such message")},
		httpserver.ErrorRow{Err: inbox.ErrIdempotencyMismatch, Answer: httpserver.Always(http.StatusConflict, api.CodeIdempotencyMismatch, "this clientMessageId was used for another message")},
		httpserver.ErrorRow{Err: messaging.ErrNoSender, Answer: httpserver.Always(http.StatusUnauthorized, api.CodeInvalidToken, "the token's account does not exist")},
		httpserver.ErrorRow{Err: inbox.ErrOverloaded, Answer: func(error) *api.Error {
			e := api.New(http.StatusServiceUnavailable, api.CodeAtCapacity, "too many messages are being sent at the moment")
			e.RetryAfter = httpserver.RetryAfter(time.Second)
			return e
		}},
		httpserver.ErrorRow{Err: ratelimit.ErrUnavailable, Answer: httpserver.UnavailableAnswer("the rate limiter")},
		httpserver.ErrorRow{Err: inbox.ErrNotCommitted, Answer: httpserver.UnavailableAnswer("the message store")},
		httpserver.ErrorRow{Err: store.ErrUnavailable, Answer: httpserver.UnavailableAnswer("the message store")},
		httpserver.ErrorRow{Err: bus.ErrDisconnected, Answer: httpserver.UnavailableAnswer("the list of nodes")},
	)
}

func (a *API) send(c *gin.Context) error {
	var r api.SendRequest
	if err := httpserver.DecodeJSON(c, &r); err != nil {
		return err
	}
	if key := c.GetHeader(idempotencyHeader); key != "" {
		if r.ClientMessageID != "" && r.ClientMessageID != key {
			return api.InvalidField("clientMessageId", "differs from the "+idempotencyHeader+" header")
		}
		if !printable(key) {
			return api.InvalidField("clientMessageId", "must be text in UTF-8 without control characters")
		}
		r.ClientMessageID = key
	}
	sent, err := a.Messages.Send(c.Request.Context(), httpserver.Caller(c), r)
	if err != nil {
		return sendFault(c, err)
	}
	status, text := http.StatusCreated, "message sent"
	if sent.Duplicate {
		status, text = http.StatusOK, "message was sent before"
	}
	answer := api.SendResponse{Message: text, MessageID: sent.ID.String(), Timestamp: api.At(sent.At), Duplicate: sent.Duplicate}
	_ = httpserver.WriteJSON(c, status, answer.AppendJSON(make([]byte, 0, 160))) // an error means that the client has gone
	return nil
}

// printable reports whether a header's text can be stored and returned unchanged.
func printable(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, unicode.IsControl)
}

// sendFault adds what some errors carry to the answer.
func sendFault(c *gin.Context, err error) error {
	var tooMany *messaging.TooManyRecipientsError
	var unknown *messaging.UnknownRecipientsError
	var stale *messaging.StaleKeysError
	switch {
	case errors.As(err, &tooMany):
		return httpserver.ApplyRateLimit(c, tooMany.Quota)
	case errors.As(err, &unknown):
		e := api.New(http.StatusBadRequest, api.CodeUnknownRecipients, unknown.Error())
		e.Field, e.UnknownRecipients = "recipientKeys", unknown.Names
		return e
	case errors.As(err, &stale):
		e := api.New(http.StatusConflict, api.CodeStaleKeys, stale.Error())
		e.Stale = stale.Current
		return e
	}
	return err
}

func (a *API) message(c *gin.Context) error {
	ctx := c.Request.Context()
	id, err := store.ParseMessageID(c.Param("messageId"))
	if err != nil {
		return err
	}
	item, err := a.Inbox.Message(ctx, httpserver.Caller(c).Subject, id)
	if err != nil {
		return err
	}
	objects, err := a.objects(ctx, []inbox.Item{item})
	if err != nil {
		return err
	}
	return httpserver.JSON(c, http.StatusOK, objects[0])
}

// objects makes the message objects of items. Those whose sender is the owner get receipts.
func (a *API) objects(ctx context.Context, items []inbox.Item) ([]api.Message, error) {
	var own []store.Message
	for _, item := range items {
		if store.Canonical(item.Message.Sender) == item.Entry.User {
			own = append(own, item.Message)
		}
	}
	receipts, err := a.Inbox.ReceiptsOf(ctx, own)
	if err != nil {
		return nil, err
	}
	list := make([]api.Message, len(items))
	for i, item := range items {
		list[i] = delivery.Object(item, receipts[item.Message.ID])
	}
	return list, nil
}

func (a *API) markRead(c *gin.Context) error {
	id, err := store.ParseMessageID(c.Param("messageId"))
	if err != nil {
		return err
	}
	if err := a.Inbox.MarkRead(c.Request.Context(), httpserver.Caller(c).Subject, id); err != nil {
		return err
	}
	c.JSON(http.StatusOK, api.MessageResponse{Message: "message marked as read"})
	return nil
}

func (a *API) status(c *gin.Context) error {
	stats, err := a.Nodes.Stats(c.Request.Context())
	if err != nil {
		return err
	}
	c.JSON(http.StatusOK, api.StatusResponse{Status: "online", Stats: stats})
	return nil
}
