// From sign-up to logout with the types that openapi-typescript generated, through openapi-fetch.

import assert from 'node:assert/strict'
import { argv } from 'node:process'
import createClient from 'openapi-fetch'
import type { paths } from './api.js'

const email = 'typescript@example.com'
const password = 'opal-lantern-42'

const api = createClient<paths>({ baseUrl: argv[2] })

const account = { email, password }
const { data: user } = await api.POST('/users/', { body: account })
assert(user)
const again = await api.POST('/users/', { body: account })
assert.equal(again.response.status, 409)
assert.deepEqual(again.error, { detail: `An account with email '${email}' already exists` })

const { data: pair } = await api.POST('/auth/login', {
  body: { username: email, password },
  headers: { 'Content-Type': 'application/x-www-form-urlencoded' },
})
assert(pair)
const headers = { Authorization: `Bearer ${pair.access_token}` }
const me = await api.GET('/users/me', { headers })
assert.deepEqual(me.data, user)

const { data: post } = await api.POST('/posts/', {
  body: { title: 'From TypeScript', content: 'By a generated client' },
  headers,
})
assert(post)
assert.deepEqual([post.title, post.owner, post.is_published], ['From TypeScript', user, true])

const vote = await api.POST('/vote/', { body: { post_id: post.id, dir: 1 }, headers })
assert.equal(vote.data?.message, 'Successfully added vote')

const listed = await api.GET('/posts/', { params: { query: { search: 'from typescript' } }, headers })
assert.deepEqual(listed.data, [{ Post: post, votes: 1 }])
// Anyone else sees the address of its owner masked.
const masked = await api.GET('/posts/{id}', { params: { path: { id: post.id } } })
assert.equal(masked.data?.Post.owner.email, 't***@example.com')

const refreshed = await api.POST('/auth/refresh', { body: { refresh_token: pair.refresh_token } })
assert(refreshed.data)
const bye = await api.POST('/auth/logout', { body: { refresh_token: refreshed.data.refresh_token } })
assert.equal(bye.data?.message, 'Successfully logged out')
const refused = await api.GET('/users/me', { headers })
assert.deepEqual(refused.error, { detail: 'Could not validate credentials' })

console.log('The generated TypeScript client signed up, logged in, posted, voted, refreshed and logged out.')
