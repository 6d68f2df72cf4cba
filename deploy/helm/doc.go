// Package helm holds the chart in sealpost/ against what it promises: against the types of Kubernetes, the Restricted Pod
// Security Standard, the configuration that the services know, and the timeouts of every load balancer that it can be put
// behind. It has tests alone.
package helm
