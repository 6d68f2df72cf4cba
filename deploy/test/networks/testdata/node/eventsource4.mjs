import {EventSource} from 'eventsource4'
import {eventSource, watched} from './readers.mjs'
import {complain, report, settings} from './settings.mjs'

const make = after => new EventSource(`${settings.url}/api/messages/stream?after=${encodeURIComponent(after)}`, {fetch: watched(settings, fetch)})

await eventSource(make, 0, report, complain)
