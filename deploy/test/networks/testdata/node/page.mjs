// The page's script: see chromium.mjs.
import {EventSource} from 'eventsource4'
import {eventSource, getWith, poll, stream, watched} from './readers.mjs'

// Reports stay in order: each waits for the one before.
let before = Promise.resolve()
const post = (path, text) => before = before.then(() => fetch(path, {method: 'POST', body: text})).catch(() => {})
const report = text => post('/report', text)
const complain = err => { post('/complain', `${err?.message ?? err?.type ?? err}`) }

const settings = await (await fetch('/settings')).json()
const request = (url, init) => fetch(url, init)
if (settings.reader === 'stream') await stream(settings, request, report, complain)
else if (settings.reader === 'poll') await poll(settings, getWith(settings, request), report, complain)
else {
  const make = after => new EventSource(`${settings.url}/api/messages/stream?after=${encodeURIComponent(after)}`, {fetch: watched(settings, request)})
  await eventSource(make, 0, report, complain)
}
