package app

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// brokerStart bounds the start of the embedded NATS server.
const brokerStart = 10 * time.Second

// startBroker starts a NATS server that has no port: only this process reaches it.
func startBroker() (*server.Server, error) {
	s, err := server.NewServer(&server.Options{ServerName: "sealpost", DontListen: true, NoSigs: true, NoLog: true})
	if err != nil {
		return nil, err
	}
	s.Start()
	if !s.ReadyForConnections(brokerStart) {
		s.Shutdown()
		return nil, errors.New("the embedded NATS server did not start")
	}
	return s, nil
}

// stopBroker is a step of the shutdown.
func stopBroker(s *server.Server) func(context.Context) error {
	return func(context.Context) error {
		s.Shutdown()
		s.WaitForShutdown()
		return nil
	}
}
