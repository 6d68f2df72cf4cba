import axios from 'axios'
import {patience, poll} from './readers.mjs'
import {complain, report, settings} from './settings.mjs'

const get = async path => (await axios.get(settings.url + path, {
  headers: {Authorization: `Bearer ${settings.token}`}, timeout: patience(settings),
})).data

await poll(settings, get, report, complain)
