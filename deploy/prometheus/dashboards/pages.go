package dashboards

import "fmt"

//go:generate go run ../cmd/dashboards ../../grafana/dashboards

// All returns the dashboards.
func All() []Dashboard {
	return []Dashboard{serviceHealth(), delivery(), gatewayCapacity(), enginesPage()}
}

func graph(title, unit, description string, queries ...Query) Panel {
	return Panel{Title: title, Unit: unit, Description: description, Queries: queries}
}

func stat(title, unit, description, expr string) Panel {
	return Panel{Title: title, Unit: unit, Description: description, Stat: true, Queries: []Query{{Expr: expr, Legend: title}}}
}

// rateBy is the rate of a counter, summed by a label.
func rateBy(label, counter string) Query {
	return Query{fmt.Sprintf(`sum by (%s) (rate(%s[$__rate_interval]))`, label, counter), "{{" + label + "}}"}
}

// rate is the rate of a counter over all nodes.
func rate(legend, counter string) Query {
	return Query{fmt.Sprintf(`sum(rate(%s[$__rate_interval]))`, counter), legend}
}

// quantiles are the 50th, 95th and 99th percentiles of a histogram over all nodes. selector is its matchers.
func quantiles(histogram, selector string) []Query {
	var list []Query
	for _, q := range []string{"0.5", "0.95", "0.99"} {
		list = append(list, Query{
			fmt.Sprintf(`histogram_quantile(%s, sum by (le) (rate(%s_bucket{%s}[$__rate_interval])))`, q, histogram, selector),
			"p" + q[2:] + map[bool]string{true: "0"}[q == "0.5"],
		})
	}
	return list
}

// quantileBy is one quantile of a histogram by the values of a label.
func quantileBy(q, label, histogram, selector string) Query {
	return Query{
		fmt.Sprintf(`histogram_quantile(%s, sum by (le, %s) (rate(%s_bucket{%s}[$__rate_interval])))`, q, label, histogram, selector),
		"{{" + label + "}}",
	}
}

const (
	waiting    = `$node,route!~"/api/messages/(poll|stream)"`
	perNode    = "{{job}} {{instance}}"
	ofServices = ` and on (cluster, namespace, job, instance) sealpost_build_info{$node}`
)

// serviceHealth is for people on call.
func serviceHealth() Dashboard {
	return Dashboard{
		UID: "sealpost-service-health", Title: "Sealpost: service health",
		Description: "Whether users are served, and which service is at fault if they are not. Begin here when an alert fires.",
		Rows:        []Row{objectives(), requests(), logins(), processes()},
	}
}

func objectives() Row {
	return Row{"Objectives (99.9 % in 30 days)", []Panel{
		stat("Sends answered, last hour", "percentunit", "Share of sends that were not answered 5xx.",
			`1 - max(cluster_namespace:sealpost_send_errors:ratio_rate1h{$deployment})`),
		stat("Polls answered, last hour", "percentunit", "Share of polls that were not answered 5xx; a refusal for want of capacity counts.",
			`1 - max(cluster_namespace:sealpost_poll_errors:ratio_rate1h{$deployment})`),
		stat("Delivered within 1 s, last hour", "percentunit", "Share of deliveries to waiting polls that took no more than a second.",
			`1 - max(cluster_namespace:sealpost_late_deliveries:ratio_rate1h{$deployment})`),
		stat("Burn rate of sends, 6 h", "none", "How many times as fast as the objective allows the budget is used up. Above 6 pages.",
			`max(cluster_namespace:sealpost_send_errors:ratio_rate6h{$deployment}) / 0.001`),
		stat("Alerts firing", "none", "Alerts of Sealpost that fire now: of this deployment, and those that know no deployment.",
			`count(ALERTS{alertname=~"Sealpost.+",alertstate="firing",$deployment} or ALERTS{alertname=~"Sealpost.+",alertstate="firing",namespace=""}) or vector(0)`),
		stat("Nodes up", "none", "Nodes that Prometheus can scrape.", `count(sealpost_build_info{$node})`),
		stat("Nodes ready", "none", "Those of them that do not wait for what they need to start.", `sum(sealpost_ready{$node})`),
	}}
}

func requests() Row {
	return Row{"Requests", []Panel{
		graph("Requests by route", "reqps", "Requests answered a second.", rateBy("route", `sealpost_http_requests_total{$node}`)),
		graph("Requests by status", "reqps", "Requests answered a second, by HTTP status.", rateBy("status", `sealpost_http_requests_total{$node}`)),
		graph("Errors by route", "reqps", "Requests answered 5xx a second.", rateBy("route", `sealpost_http_requests_total{$node,status=~"5.."}`)),
		graph("Latency by route, p99", "s", "The time that one request in a hundred exceeds. Polls and streams, which wait by design, are left out.",
			quantileBy("0.99", "route", "sealpost_http_request_duration_seconds", waiting)),
		graph("Latency of all routes", "s", "Polls and streams are left out.", quantiles("sealpost_http_request_duration_seconds", waiting)...),
		graph("Refused by rate limits", "reqps", "Requests answered 429, by limit.", rateBy("limit", `sealpost_rate_limit_decisions_total{$node,decision="refused"}`)),
		graph("Refused at a full bound", "reqps", "Requests answered 503, by what they share. Those who hold least are refused last.", rateBy("bound", `sealpost_admission_refused_total{$node}`)),
		graph("Ended to make room for others", "reqps", "Requests of those who held most of a full bound, or were slowest.", rateBy("bound", `sealpost_admission_displaced_total{$node}`)),
		graph("Used of each bound", "percentunit", "The fullest node.", Query{`max by (bound) (sealpost_admission_used_ratio{$node})`, "{{bound}}"}),
	}}
}

func logins() Row {
	return Row{"Accounts", []Panel{
		graph("Logins by outcome", "reqps", "A rise of invalid_credentials is somebody guessing; too_many_guesses are refused unchecked; a rise of at_capacity, a full password queue.", rateBy("outcome", `sealpost_auth_logins_total{$node}`)),
		graph("Registrations and password changes", "reqps", "Those that succeeded.",
			rate("registrations", `sealpost_auth_registrations_total{$node,outcome="success"}`),
			rate("password changes", `sealpost_auth_password_changes_total{$node,outcome="success"}`)),
		graph("Password queue", "short", "Requests that wait for Argon2id, by lane.", Query{`sum by (lane) (sealpost_auth_password_queue_length{$node})`, "{{lane}}"}),
		graph("Wait for hashing", "s", "Time in the password queue.", quantiles("sealpost_auth_password_queue_wait_seconds", "$node")...),
		graph("Time of a hash", "s", "Time that Argon2id takes, without the wait.", quantiles("sealpost_auth_password_hash_seconds", "$node")...),
		graph("Turned away from the queue", "reqps", "Requests that left without a hash, by lane.", rateBy("lane", `sealpost_auth_password_queue_refused_total{$node}`)),
	}}
}

func processes() Row {
	return Row{"Processes", []Panel{
		graph("CPU", "short", "Cores used, by node.", Query{`rate(process_cpu_seconds_total{$node}[$__rate_interval])` + ofServices, perNode}),
		graph("Memory", "bytes", "Resident memory, by node.", Query{`process_resident_memory_bytes{$node}` + ofServices, perNode}),
		graph("Goroutines", "short", "A rise without end is a leak.", Query{`go_goroutines{$node}` + ofServices, perNode}),
		graph("Age", "s", "Time since each process started. A saw is a process that restarts.", Query{`time() - process_start_time_seconds{$node}` + ofServices, perNode}),
		graph("Builds", "none", "Nodes by build: two while a new version is rolled out.", Query{`count by (revision, goversion) (sealpost_build_info{$node})`, "{{revision}} {{goversion}}"}),
		graph("Open files", "percentunit", "Share of the file descriptors that a process may open.", Query{`process_open_fds{$node} / process_max_fds{$node}` + ofServices, perNode}),
	}}
}

// delivery is for those responsible for messages: what happens to them between acceptance and delivery.
func delivery() Dashboard {
	return Dashboard{
		UID: "sealpost-delivery", Title: "Sealpost: delivery",
		Description: "How soon messages reach those who wait for them, and what the inbox log had to mend.",
		Rows: []Row{
			{"Latency", []Panel{
				graph("Accept to delivery", "s", "From the server's acceptance of a message to the completion of a waiting poll with it.", quantiles("sealpost_gateway_delivery_latency_seconds", "$node")...),
				graph("Late deliveries", "percentunit", "Share that took more than a second. The objective allows 0.1 %.",
					Query{`cluster_namespace:sealpost_late_deliveries:ratio_rate5m{$deployment}`, "5 minutes"},
					Query{`cluster_namespace:sealpost_late_deliveries:ratio_rate1h{$deployment}`, "an hour"}),
				graph("Send latency", "s", "From a send's headers to its answer.", quantiles("sealpost_http_request_duration_seconds", `$node,route="/api/messages/send"`)...),
			}},
			{"Flow", []Panel{
				graph("Sends acknowledged", "reqps", "A duplicate repeats a send that had been acknowledged.", rateBy("kind", `sealpost_messages_accepted_total{$node}`)),
				graph("Inbox entries", "wps", "Entries committed: one a recipient, and one for the sender.", rate("entries", `sealpost_messages_inbox_entries_total{$node}`)),
				graph("Polls answered, by type", "reqps", "Answers of the gateways.", rateBy("type", `sealpost_gateway_answers_total{$node}`)),
				graph("Messages came from", "reqps", "Polls answered with messages. Events should bring nearly all; the store brings what polls missed while away.", rateBy("source", `sealpost_gateway_completions_total{$node}`)),
				graph("Reads of the store", "reqps", "Reads of the log, by purpose.", rateBy("purpose", `sealpost_inbox_store_reads_total{$node}`)),
				graph("Documents a bulk insert", "short", "More at once is what group commit gains.",
					quantileBy("0.5", "kind", "sealpost_inbox_batch_documents", "$node"), quantileBy("0.99", "kind", "sealpost_inbox_batch_documents", "$node")),
				graph("Wait for a bulk insert", "s", "Time until the insert under way has ended and the next begins. It is part of each send's latency.",
					quantileBy("0.5", "kind", "sealpost_inbox_batch_wait_seconds", "$node"), quantileBy("0.99", "kind", "sealpost_inbox_batch_wait_seconds", "$node")),
			}},
			{"Events", []Panel{
				graph("Published", "ops", "Publications handed to NATS, by result: events of one user, or of all readers of messages.", rateBy("result", `sealpost_bus_published_total{$node}`)),
				graph("Received", "ops", "Events that gateways received.", rate("received", `sealpost_bus_received_total{$node}`)),
				graph("Lost and found", "ops", "Messages that verification found without an event, gaps in the events, events that NATS did not take, payloads that are no events.",
					rate("found by verification", `sealpost_gateway_recovered_events_total{$node}`), rate("gaps", `sealpost_gateway_event_gaps_total{$node}`),
					rate("not published", `sealpost_messages_unpublished_events_total{$node}`), rate("malformed", `sealpost_gateway_malformed_events_total{$node}`)),
			}},
			{"The log mends itself", []Panel{
				graph("Stale reads", "ops", "Reads of the store that showed less than it held before: it fails over, or was restored without a new epoch.", rate("stale reads", `sealpost_gateway_stale_reads_total{$node}`)),
				graph("Holes and aborted sends", "ops", "Tombstones: positions that no writer filled, sends that were not committed in time.",
					rate("holes", `sealpost_inbox_holes_filled_total{$node}`), rate("aborted sends", `sealpost_inbox_sends_aborted_total{$node}`)),
				graph("Position conflicts", "ops", "Entries that had to take another position.", rate("conflicts", `sealpost_inbox_position_conflicts_total{$node}`)),
				graph("Sequencer fallbacks", "ops", "Positions taken from the log's tail, because Redis was away.", rate("fallbacks", `sealpost_inbox_sequencer_fallbacks_total{$node}`)),
			}},
		},
	}
}

// gatewayCapacity is for those who choose the number and size of gateways.
func gatewayCapacity() Dashboard {
	const gateways = ` and on (cluster, namespace, job, instance) sealpost_gateway_capacity_polls{$node}`
	return Dashboard{
		UID: "sealpost-gateway-capacity", Title: "Sealpost: gateway capacity",
		Description: "How many polls the gateways hold, may hold, and what each costs.",
		Rows: []Row{
			{"Polls", []Panel{
				stat("Open polls", "short", "Polls and streams that are open at all gateways.", `sum(sealpost_gateway_open_polls{$node})`),
				stat("Capacity", "short", "Polls and streams that may be open at all gateways.", `sum(sealpost_gateway_capacity_polls{$node})`),
				stat("Used", "percentunit", "Share of the capacity that is used.", `sum(sealpost_gateway_open_polls{$node}) / sum(sealpost_gateway_capacity_polls{$node})`),
				stat("Used without the largest gateway", "percentunit", "Share that would be used if a gateway were lost. Above 100 % its clients would be refused.",
					`sum(sealpost_gateway_open_polls{$node}) / (sum(sealpost_gateway_capacity_polls{$node}) - max(sealpost_gateway_capacity_polls{$node}))`),
				stat("Warm users", "short", "Users whose events gateways are subscribed to; one at two gateways counts twice.", `sum(sealpost_gateway_warm_users{$node})`),
				stat("Polls a warm user", "none", "Open polls for each user that is warm.", `sum(sealpost_gateway_open_polls{$node}) / sum(sealpost_gateway_warm_users{$node})`),
			}},
			{"By gateway", []Panel{
				graph("Open polls", "short", "By gateway. Unequal ones are a load balancer's doing.", Query{`sealpost_gateway_open_polls{$node}`, perNode}),
				graph("Capacity used", "percentunit", "By gateway.", Query{`sealpost_gateway_open_polls{$node} / sealpost_gateway_capacity_polls{$node}`, perNode}),
				graph("Warm users", "short", "By gateway.", Query{`sealpost_gateway_warm_users{$node}`, perNode}),
				graph("Polls refused", "reqps", "By reason. Capacity is a 503.", rateBy("reason", `sealpost_gateway_refused_polls_total{$node}`)),
				graph("Answers by gateway", "reqps", "Polls answered.", Query{`sum by (job, instance) (rate(sealpost_gateway_answers_total{$node}[$__rate_interval]))`, perNode}),
				graph("Events received by gateway", "ops", "Events from NATS.", Query{`rate(sealpost_bus_received_total{$node}[$__rate_interval])` + gateways, perNode}),
			}},
			{"Connections", []Panel{
				graph("Waiting without a goroutine", "short", "Connections whose poll waits, by gateway.", Query{`sealpost_parking_connections{$node}`, perNode}),
				graph("Back with the next request", "reqps", "Connections that went back to the HTTP server with their client's next request.", rate("returned", `sealpost_parking_returned_total{$node}`)),
				graph("Slow clients", "reqps", "Answers that their client did not take at once.", rate("slow", `sealpost_parking_slow_answers_total{$node}`)),
			}},
			{"Cost", []Panel{
				graph("Memory", "bytes", "Resident memory, by gateway.", Query{`process_resident_memory_bytes{$node}` + gateways, perNode}),
				graph("Memory limit used", "percentunit", "Share of Go's memory limit. Without a limit it is next to nothing.", Query{`process_resident_memory_bytes{$node} / go_gc_gomemlimit_bytes{$node}` + gateways, perNode}),
				graph("Heap a poll", "bytes", "Heap in use for each open poll. It means little while few are open.", Query{`go_memstats_heap_inuse_bytes{$node} / (sealpost_gateway_open_polls{$node} + 1)`, perNode}),
				graph("Open files", "percentunit", "Share of the file descriptors that a gateway may open: one a poll.", Query{`process_open_fds{$node} / process_max_fds{$node}` + gateways, perNode}),
				graph("Goroutines", "short", "By gateway.", Query{`go_goroutines{$node}` + gateways, perNode}),
				graph("CPU", "short", "Cores used, by gateway.", Query{`rate(process_cpu_seconds_total{$node}[$__rate_interval])` + gateways, perNode}),
			}},
		},
	}
}

// enginesPage is for the operators of MongoDB, Redis and NATS, or of the disk of a standalone server.
func enginesPage() Dashboard {
	ratio := `sum by (engine) (rate(sealpost_engine_operation_errors_total{$node}[$__rate_interval])) / sum by (engine) (rate(sealpost_engine_operation_duration_seconds_count{$node}[$__rate_interval]))`
	return Dashboard{
		UID: "sealpost-engines", Title: "Sealpost: engines",
		Description: "MongoDB, Redis and NATS as the nodes see them, and the store of a standalone server.",
		Rows: []Row{
			{"All", []Panel{
				graph("Operations", "ops", "Operations asked of each engine.", rateBy("engine", `sealpost_engine_operation_duration_seconds_count{$node}`)),
				graph("Errors", "ops", "Operations that failed or were not answered in time.", rateBy("engine", `sealpost_engine_operation_errors_total{$node}`)),
				graph("Share that fails", "percentunit", "Errors among operations.", Query{ratio, "{{engine}}"}),
				graph("Latency, p50", "s", "By engine.", quantileBy("0.5", "engine", "sealpost_engine_operation_duration_seconds", "$node")),
				graph("Latency, p99", "s", "By engine.", quantileBy("0.99", "engine", "sealpost_engine_operation_duration_seconds", "$node")),
				graph("Errors by service", "ops", "Which service an engine fails.", Query{`sum by (job, engine) (rate(sealpost_engine_operation_errors_total{$node}[$__rate_interval]))`, "{{job}} {{engine}}"}),
			}},
			{"MongoDB", []Panel{
				graph("Commands", "ops", "By command.", rateBy("operation", `sealpost_engine_operation_duration_seconds_count{$node,engine="mongodb"}`)),
				graph("Latency by command, p99", "s", "An insert waits for a majority and its journal.", quantileBy("0.99", "operation", "sealpost_engine_operation_duration_seconds", `$node,engine="mongodb"`)),
				graph("Errors by command", "ops", "By command.", rateBy("operation", `sealpost_engine_operation_errors_total{$node,engine="mongodb"}`)),
			}},
			{"Redis", []Panel{
				graph("Commands", "ops", "By command; a pipeline counts once.", rateBy("operation", `sealpost_engine_operation_duration_seconds_count{$node,engine="redis"}`)),
				graph("Latency by command, p99", "s", "By command.", quantileBy("0.99", "operation", "sealpost_engine_operation_duration_seconds", `$node,engine="redis"`)),
				graph("Rate limits that could not tell", "reqps", "Requests answered 503 because Redis was away, by limit.", rateBy("limit", `sealpost_rate_limit_decisions_total{$node,decision="unavailable"}`)),
				graph("Age of what is known of revocations", "s", "By node, and from when on a node refuses all tokens (REVOCATION_MAX_STALENESS).",
					Query{`sealpost_revocation_staleness_seconds{$node}`, perNode}, Query{`min(sealpost_revocation_max_staleness_seconds{$node})`, "refuses all tokens"}),
				graph("Revocations", "short", "Known and not expired, by node: all nodes know the same.", Query{`sealpost_revocation_records{$node}`, perNode}),
				graph("Revocations given back", "ops", "Revocations that Redis had lost, and times that the log was lost.",
					rate("given back", `sealpost_revocation_restored_total{$node}`), rate("log lost", `sealpost_revocation_log_failures_total{$node}`)),
			}},
			{"NATS", []Panel{
				graph("Connected", "bool", "1 while a node is connected, and NATS answers.", Query{`sealpost_bus_connected{$node}`, perNode}),
				graph("Disruptions", "ops", "Times that events may have been lost, by cause.", rateBy("cause", `sealpost_bus_disruptions_total{$node}`)),
				graph("Latency by operation, p99", "s", "A subscription waits until the server has it; a publication for nothing.", quantileBy("0.99", "operation", "sealpost_engine_operation_duration_seconds", `$node,engine="nats"`)),
				graph("Unconfirmed users", "short", "Users whose events NATS has been asked to confirm and has not, by node.", Query{`sealpost_messages_unconfirmed_users{$node}`, perNode}),
				graph("Hints", "ops", "Messages over Redis that have gateways look into the store, because NATS may have lost events.",
					rateBy("result", `sealpost_messages_hints_total{$node}`), rateBy("about", `sealpost_hints_received_total{$node}`)),
				graph("Hears hints", "bool", "1 while a gateway hears them.", Query{`sealpost_hints_listening{$node}`, perNode}),
			}},
			{"Embedded store", []Panel{
				graph("Operations", "ops", "What the standalone server asks of its store, by operation.", rateBy("operation", `sealpost_engine_operation_duration_seconds_count{$node,engine="pebble"}`)),
				graph("Latency by operation, p99", "s", "A write waits for its turn, and for the disk; stall: writes that waited for compactions.", quantileBy("0.99", "operation", "sealpost_engine_operation_duration_seconds", `$node,engine="pebble"`)),
				graph("Errors by operation", "ops", "A full disk, a block that cannot be read, a write that took too long.", rateBy("operation", `sealpost_engine_operation_errors_total{$node,engine="pebble"}`)),
			}},
			{"Between the services", []Panel{
				graph("Age of the token keys", "s", "Time since each node fetched the keys that verify tokens.", Query{`time() - sealpost_token_keys_fetched_timestamp_seconds{$node}`, perNode}),
				graph("Failed fetches of the token keys", "ops", "By node.", Query{`rate(sealpost_token_keys_failures_total{$node}[$__rate_interval])`, perNode}),
				graph("Sequencer fallbacks", "ops", "Positions taken from the log's tail, because Redis was away.", rate("fallbacks", `sealpost_inbox_sequencer_fallbacks_total{$node}`)),
			}},
		},
	}
}
