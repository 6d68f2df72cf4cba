import {fetch, request} from 'undici'
import {patience, poll, stream} from './readers.mjs'
import {complain, report, settings} from './settings.mjs'

const get = async path => {
  const {statusCode, body} = await request(settings.url + path, {
    headers: {Authorization: `Bearer ${settings.token}`}, headersTimeout: patience(settings), bodyTimeout: patience(settings),
  })
  if (statusCode !== 200) {
    await body.dump()
    throw new Error(`status ${statusCode}`)
  }
  return body.json()
}

if (process.argv[2] === 'stream') await stream(settings, fetch, report, complain)
else await poll(settings, get, report, complain)
