// How good programs read an inbox, whatever they make requests with. They run on Node and in Chromium.
import {createParser} from 'eventsource-parser'

// pause is the time after an error, in milliseconds.
const pause = 1000
// deadAfter is how long bytes may stay out that should have come, before a connection is taken for dead.
const deadAfter = 15_000
// heartbeat is the longest time in which a stream says nothing.
const heartbeat = 15_000

export const sleep = ms => new Promise(done => setTimeout(done, ms))

// patience is how long a poll may take.
export const patience = settings => settings.wait * 1000 + deadAfter

// poll reads with long polls. get(path) gives the parsed JSON of an answer, and fails for anything but a 200 with JSON.
export async function poll(settings, get, report, complain) {
  for (let after = '0'; ;) {
    try {
      const answer = await get(`/api/messages/poll?limit=20&wait=${settings.wait}&after=${encodeURIComponent(after)}`)
      if (typeof answer.cursor !== 'string') throw new Error('the answer has no cursor')
      for (const message of answer.messages ?? []) await report(message.encryptedContent)
      after = answer.cursor
    } catch (err) {
      complain(err)
      await sleep(pause)
    }
  }
}

// getWith makes a get of a fetch.
export const getWith = (settings, fetch) => async path => {
  const answer = await fetch(settings.url + path, {
    headers: {Authorization: `Bearer ${settings.token}`}, signal: AbortSignal.timeout(patience(settings)),
  })
  if (answer.status !== 200) throw new Error(`status ${answer.status}`)
  return answer.json()
}

// most is the longest time for which the first bytes of a stream are waited for.
const most = 120_000

// watched is a fetch of streams that fails when nothing comes on one, not even a heartbeat: a connection can be dead although nobody says so.
// An EventSource does not see heartbeats; its fetch does. But a proxy may hold a stream back for long, and pass it on in the end: after a
// stream on which nothing came at all, the next one has more time to begin.
export const watched = (settings, fetch) => {
  let first = heartbeat + deadAfter
  return async (url, init = {}) => {
    const dead = new AbortController()
    init.signal?.addEventListener('abort', () => dead.abort(init.signal.reason))
    let reader
    // The reader gets this error, and not the one of an aborted fetch: the package eventsource takes that for its owner's will, and ends.
    const late = () => {
      const error = new Error('nothing comes on the stream')
      reader?.error(error)
      dead.abort(error)
    }
    let timer = setTimeout(() => {
      first = Math.min(2 * first, most)
      late()
    }, first)
    const alive = () => {
      clearTimeout(timer)
      timer = setTimeout(late, heartbeat + deadAfter)
    }
    try {
      const answer = await fetch(url, {
        ...init, headers: {...init.headers, Authorization: `Bearer ${settings.token}`}, signal: dead.signal,
      })
      const body = answer.body.pipeThrough(new TransformStream({
        start(controller) { reader = controller },
        transform(chunk, controller) {
          alive()
          controller.enqueue(chunk)
        },
        flush() { clearTimeout(timer) },
      }))
      return new Response(body, {status: answer.status, headers: answer.headers})
    } catch (err) {
      clearTimeout(timer)
      throw err
    }
  }
}

// stream reads Server-Sent Events with fetch.
export async function stream(settings, fetch, report, complain) {
  const get = watched(settings, fetch)
  let last
  for (;;) {
    try {
      const answer = await get(settings.url + '/api/messages/stream', {headers: last === undefined ? {} : {'Last-Event-ID': last}})
      const type = answer.headers.get('content-type') ?? ''
      if (answer.status !== 200 || !type.startsWith('text/event-stream')) throw new Error(`status ${answer.status}, ${type}`)
      const events = []
      const parser = createParser({onEvent: event => events.push(event)})
      const decoder = new TextDecoder()
      for (const reader = answer.body.getReader(); ;) {
        const {done, value} = await reader.read()
        if (done) break
        parser.feed(decoder.decode(value, {stream: true}))
        for (const event of events.splice(0)) {
          if (event.event === undefined) await report(JSON.parse(event.data).encryptedContent)
          if (event.id !== undefined) last = event.id
        }
      }
    } catch (err) {
      complain(err)
    }
    await sleep(pause)
  }
}

// eventSource reads with an EventSource, which connects again by itself, and says with Last-Event-ID where. It gives up on an answer that is
// no stream, as the standard demands: then the program begins another one. make(after) makes one that begins after an event.
// Without silence, the longest time without an event, a connection that is dead without a word is not noticed.
export async function eventSource(make, silence, report, complain) {
  let last = '0'
  for (;;) {
    const source = make(last)
    await new Promise(ended => {
      let timer
      const alive = () => {
        clearTimeout(timer)
        if (silence) timer = setTimeout(ended, silence)
      }
      alive()
      source.addEventListener('message', event => {
        alive()
        if (event.lastEventId) last = event.lastEventId
        report(JSON.parse(event.data).encryptedContent)
      })
      source.addEventListener('skipped', event => { if (event.lastEventId) last = event.lastEventId })
      source.addEventListener('error', event => {
        complain(event)
        if (source.readyState === 2) ended()
      })
    })
    source.close()
    await sleep(pause)
  }
}
