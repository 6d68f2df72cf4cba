// Package compose checks docker-compose.yml and the Dockerfile against each other, against the services' configuration and against the
// mounted files. It has only tests.
package compose
