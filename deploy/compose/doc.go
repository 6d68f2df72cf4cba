// Package compose holds docker-compose.yml and the Dockerfile against each other, against the configuration that the
// services know and against the files that are mounted. It has tests alone.
package compose
