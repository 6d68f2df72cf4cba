import EventSource from 'eventsource2'
import {eventSource} from './readers.mjs'
import {complain, report, settings} from './settings.mjs'

// Version 2 sees no heartbeats, and nothing can be put in between: after so long without an event, it begins anew.
const silence = 40_000

// A header of its own is also sent when it connects again: where to begin stands in the address.
const make = after => new EventSource(`${settings.url}/api/messages/stream?after=${encodeURIComponent(after)}`, {
  headers: {Authorization: `Bearer ${settings.token}`},
})

await eventSource(make, silence, report, complain)
