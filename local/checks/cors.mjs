// node cors.mjs API CHROMIUM MODE PORT OTHER: pages on two other ports of this machine call the API from a browser, each
// as a page of another origin. MODE is what CORS_ORIGINS is: `any`, or `listed` where PORT is that of the only origin
// in the list.

import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import { chromium } from 'playwright-core'

const [api, executablePath, mode, ...ports] = process.argv.slice(2)
const email = `${mode}@example.com`
const password = 'opal-lantern-42'
// What the libraries of browsers and their tracers add.
const ADDED = {
  'X-Requested-With': 'XMLHttpRequest',
  'Cache-Control': 'no-cache',
  Pragma: 'no-cache',
  baggage: 'sentry-environment=production',
  'sentry-trace': '0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1',
  traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
  tracestate: 'vendor=1',
  'x-datadog-origin': 'rum',
  'x-datadog-parent-id': '1',
  'x-datadog-sampling-priority': '1',
  'x-datadog-trace-id': '1',
  'Idempotency-Key': 'once',
}

const servers = ports.map((port) =>
  createServer((_, answer) => answer.setHeader('content-type', 'text/html').end('<!doctype html><title>page</title>')).listen(
    Number(port),
    '127.0.0.1',
  ),
)
const browser = await chromium.launch({ executablePath, chromiumSandbox: process.getuid() !== 0 })
const [page, other] = await Promise.all(
  ports.map(async (port) => {
    const page = await browser.newPage()
    await page.goto(`http://127.0.0.1:${port}/`)
    return page
  }),
)

/** What a script of the page may read of an answer; null where the browser gives it nothing. */
function call(page, target, { method = 'GET', body, form, ...init } = {}) {
  return page.evaluate(
    async ([url, init, form]) => {
      if (form) {
        init.body = new FormData()
        for (const [name, value] of Object.entries(form)) init.body.append(name, value)
      }
      try {
        const answer = await fetch(url, init)
        const text = await answer.text()
        return { status: answer.status, headers: Object.fromEntries(answer.headers), body: text && JSON.parse(text) }
      } catch (error) {
        if (error instanceof TypeError) return null
        throw error
      }
    },
    [api + target, { method, body: typeof body === 'object' ? JSON.stringify(body) : body, ...init }, form],
  )
}

const json = { 'Content-Type': 'application/json' }
const kept = mode === 'listed' ? { credentials: 'include' } : {}

// A whole visit: sign up, log in by a form in parts, write, change, vote, delete, each with what libraries add.
const user = await call(page, '/users/', { ...kept, method: 'POST', headers: { ...json, ...ADDED }, body: { email, password } })
assert.equal(user.status, 201)
assert.match(user.headers.location, /\d+$/)
assert.match(user.headers['x-request-id'], /./)
const login = await call(page, '/auth/login', { ...kept, method: 'POST', headers: ADDED, form: { username: email, password } })
assert.equal(login.status, 200)
const signed = { Authorization: `Bearer ${login.body.access_token}`, ...ADDED }
for (const title of ['one', 'two']) {
  const post = await call(page, '/posts/', { ...kept, method: 'POST', headers: { ...json, ...signed }, body: { title, content: '' } })
  assert.equal(post.status, 201)
}
const list = await call(page, '/posts/?limit=1', { ...kept, headers: signed })
assert.equal(list.status, 200)
assert.match(list.headers.link, /rel="next"/)
const id = list.body[0].Post.id
const changed = await call(page, `/posts/${id}`, {
  ...kept,
  method: 'PUT',
  headers: { ...json, ...signed, 'If-Match': '"any"' },
  body: { title: 'three', content: '' },
})
assert.notEqual(changed, null)
const vote = await call(page, '/vote/', { ...kept, method: 'POST', headers: { ...json, ...signed }, body: { post_id: id, dir: 1 } })
assert.equal(vote.status, 201)
const deleted = await call(page, `/posts/${id}`, { ...kept, method: 'DELETE', headers: signed })
assert.deepEqual([deleted.status, deleted.body], [204, ''])

// A page reads refusals as well.
for (const [status, target, init, header] of [
  [401, '/auth/sessions', {}, 'www-authenticate'],
  [401, '/posts/', { headers: { Authorization: 'Bearer bad' } }, 'www-authenticate'],
  [404, '/nothing', {}],
  [404, '/posts/77', { headers: signed }],
  [405, '/posts/', { method: 'PATCH', headers: json, body: {} }, 'allow'],
  [413, '/users/', { method: 'POST', headers: json, body: ' '.repeat(8193) }],
  [415, '/users/', { method: 'POST', headers: { 'Content-Type': 'text/plain' }, body: '{}' }],
  [422, '/users/', { method: 'POST', headers: json, body: '{' }],
]) {
  const answer = await call(page, target, { ...kept, ...init })
  assert.equal(answer?.status, status, target)
  assert(answer.body.detail, target)
  assert(answer.headers['x-request-id'], target)
  if (header) assert(answer.headers[header], `${target} ${header}`)
}
for (let failures = 0; failures < 10; failures += 1) {
  await call(page, '/auth/login', { ...kept, method: 'POST', form: { username: email, password: 'wrong' } })
}
const throttled = await call(page, '/auth/login', { ...kept, method: 'POST', form: { username: email, password: 'wrong' } })
assert.equal(throttled.status, 429)
assert.match(throttled.headers['retry-after'], /^\d+$/)

if (mode === 'any') {
  // Any page, any header, no credentials.
  assert.equal((await call(other, '/posts/', { headers: { ...signed, 'X-Anything': 'x' } })).status, 200)
  assert.equal(await call(page, '/posts/', { credentials: 'include' }), null)
} else {
  // Nobody else, whatever they ask.
  assert.equal(await call(other, '/posts/'), null)
  assert.equal(await call(other, '/posts/', { headers: signed }), null)
  assert.equal(await call(other, '/posts/', { credentials: 'include' }), null)
  const before = await call(page, '/posts/')
  assert.equal(await call(other, '/posts/', { method: 'POST', headers: { ...json, ...signed }, body: { title: 'no', content: '' } }), null)
  assert.deepEqual((await call(page, '/posts/')).body, before.body)
}

await browser.close()
for (const server of servers) server.close()
console.log(`CORS_ORIGINS, ${mode}: pages of other origins could do what they should, and nothing else.`)
