// Runs Chromium with a page that reads, as the argument says: poll, stream or eventsource. The page comes from this script, so that it is of
// another origin than the server, as a web client mostly is. It reports by requests to where it came from.
import {spawn} from 'node:child_process'
import {readFile} from 'node:fs/promises'
import {createServer} from 'node:http'
import {complain, report, settings} from './settings.mjs'

const page = `<!doctype html><meta charset=utf-8><title>lab</title>
<script type=importmap>{"imports": {
  "eventsource-parser": "/node_modules/eventsource-parser/dist/index.js",
  "eventsource4": "/node_modules/eventsource4/dist/index.js"
}}</script>
<script type=module src=/page.mjs></script>`

const served = new Set([
  '/page.mjs', '/readers.mjs', '/node_modules/eventsource-parser/dist/index.js', '/node_modules/eventsource4/dist/index.js',
])

const server = createServer(async (request, answer) => {
  if (request.method === 'POST') {
    let body = ''
    for await (const part of request) body += part
    if (request.url === '/report') report(body)
    else complain(body)
    answer.end()
  } else if (request.url === '/') {
    answer.setHeader('Content-Type', 'text/html; charset=utf-8').end(page)
  } else if (request.url === '/settings') {
    answer.setHeader('Content-Type', 'application/json').end(JSON.stringify({...settings, reader: process.argv[2]}))
  } else if (served.has(request.url)) {
    answer.setHeader('Content-Type', 'text/javascript').end(await readFile(new URL('.' + request.url, import.meta.url)))
  } else {
    answer.writeHead(404).end()
  }
})

server.listen(0, '127.0.0.1', () => {
  const home = `${process.env.LAB_HOME}/chromium`
  const browser = spawn(process.env.LAB_CHROMIUM, [
    // The sandbox is not for root. No other requests than the page's, and nothing that is kept elsewhere.
    '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--disable-background-networking', '--no-first-run', '--remote-debugging-port=0',
    `--user-data-dir=${home}`, `http://127.0.0.1:${server.address().port}/`,
  ], {stdio: ['ignore', 'ignore', 'ignore'], env: {...process.env, HOME: home}})
  browser.on('error', complain)
  browser.on('exit', status => process.exit(status || 1))
})
