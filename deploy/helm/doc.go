// Package helm checks the chart in sealpost/ against the types of Kubernetes, the Restricted Pod Security Standard, the services'
// configuration, and the timeouts of every load balancer that can stand in front of it. It has only tests.
package helm
