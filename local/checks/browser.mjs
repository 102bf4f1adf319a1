// node browser.mjs API CHROMIUM PICTURES: uses the pages as a person would, and looks at what they did.

import assert from 'node:assert/strict'
import { chromium } from 'playwright-core'

const [api, executablePath, pictures] = process.argv.slice(2)
const { origin } = new URL(api)
const email = 'browser@example.com'
const password = 'opal-lantern-42'

const browser = await chromium.launch({
  executablePath,
  // Root's Chromium has no sandbox of its own.
  chromiumSandbox: process.getuid() !== 0,
  // Nothing but the API has an address.
  args: ['--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1'],
})
const context = await browser.newContext({ viewport: { width: 1280, height: 1000 } })

// Whatever a page did that it should not have.
const complaints = []
await context.route(
  (url) => url.origin !== origin,
  (route) => {
    complaints.push(`fetched ${route.request().url()}`)
    return route.abort()
  },
)
// While a newcomer tries everything, refusals are answers like others.
let refusalsAreFine = false
context.on('console', (message) => {
  if (refusalsAreFine && /^Failed to load resource: .* status of 4\d\d /.test(message.text())) return
  if (['error', 'warning'].includes(message.type())) {
    complaints.push(`said ${message.text()} at ${message.location().url}`)
  }
})
context.on('weberror', (error) => complaints.push(`threw ${error.error().stack}`))
context.on('requestfailed', (request) => {
  const why = request.failure().errorText
  // A page that is left takes what it still waits for along.
  if (why !== 'net::ERR_ABORTED') complaints.push(`did not get ${request.url()}: ${why}`)
})
// One that the policy forbids is told to the page alone.
await context.addInitScript(() => {
  addEventListener('securitypolicyviolation', (event) => {
    console.error(`the policy forbids ${event.violatedDirective} ${event.blockedURI}`)
  })
})

/** Shoots the page, and fails when one has anything to hide. */
async function look(page, name) {
  await page.screenshot({ path: `${pictures}/${name}.png` })
  assert.deepEqual(complaints, [], `the page ${name}`)
}

/** Logs in through the dialog, which says how. */
async function authorize(page, username, password) {
  await page.locator('.scheme-container .btn.authorize').click()
  const dialog = page.locator('.dialog-ux .modal-ux')
  await dialog.getByText('Type the address and the password that you signed up with').waitFor()
  await dialog.getByText('Paste the access_token').waitFor()
  await dialog.locator('#oauth_username').fill(username)
  await dialog.locator('#oauth_password').fill(password)
  await look(page, 'docs-authorize')
  const login = dialog.locator('.auth-container', { has: page.locator('#oauth_username') })
  await login.locator('button.authorize').click()
  await dialog.locator('.auth-container:has-text("Logout")').waitFor()
  await look(page, 'docs-authorized')
  await dialog.locator('.close-modal').click()
}

/** Fills in the body of an operation of Swagger UI and sends it; answers what the API did. */
async function tryOut(page, operation, body) {
  const block = page.locator(`[id^="operations-"][id$="-${operation}"]`)
  await block.locator('.opblock-summary-control').click()
  await block.locator('textarea.body-param__text').fill(JSON.stringify(body))
  const answering = page.waitForResponse((response) => response.request().method() === 'POST')
  await block.locator('button.execute').click()
  const answer = await answering
  // The page shows it, too.
  await block.locator(`.live-responses-table .response-col_status:has-text("${answer.status()}")`).waitFor()
  await block.scrollIntoViewIfNeeded()
  return { status: answer.status(), body: await answer.json() }
}

/** Sends an operation as Swagger UI fills it in: the status, and what is said of a refusal. */
async function execute(page, operation) {
  const block = page.locator(`[id^="operations-"][id$="-${operation}"]`)
  if ((await block.locator('button.execute').count()) === 0) {
    await block.locator('.opblock-summary-control').click()
  }
  const answering = page.waitForResponse((response) => response.request().resourceType() === 'fetch')
  await block.locator('button.execute').click()
  const answer = await answering
  await block.locator(`.live-responses-table .response-col_status:has-text("${answer.status()}")`).waitFor()
  return answer.status() < 400 ? answer.status() : [answer.status(), (await answer.json()).detail]
}

/** Asserts what operations answer one after the other, each as it is filled in. */
async function executeAll(page, answers) {
  for (const [operation, expected] of answers) {
    assert.deepEqual(await execute(page, operation), expected, operation)
  }
}

/** What a program is told. */
async function ask(target) {
  const answer = await fetch(api + target)
  assert.equal(answer.status, 200)
  return answer.json()
}

let page = await context.newPage()

// A person's browser is sent from the root to Swagger UI, which shows every operation of the document.
await page.goto(`${api}/`)
assert.equal(page.url(), `${api}/docs`)
const { paths } = await ask('/openapi.json')
const methods = ['get', 'put', 'post', 'delete']
const operations = Object.values(paths).flatMap((path) => methods.filter((method) => method in path))
await page.locator('.opblock').nth(operations.length - 1).waitFor()
assert.equal(await page.locator('.opblock').count(), operations.length)
await look(page, 'docs')

// A newcomer is told where to begin, and no padlock is closed before anybody logged in.
assert.deepEqual(
  await page.locator('.information-container ol > li > strong').allTextContents(),
  ['Sign up', 'Authorize', 'Try'],
)
const closed = page.locator('.authorization__btn[aria-label$=" locked"]')
const open = page.locator('.authorization__btn[aria-label$=" unlocked"]')
const padlocks = await open.count()
assert(padlocks > 10)
assert.equal(await closed.count(), 0)

// Whatever is executed as it is filled in answers what a newcomer understands: before there is anything,
refusalsAreFine = true
const nobody = [401, 'Not authenticated']
const made = Object.values(paths).flatMap((path) => methods.map((method) => path[method]?.operationId).filter(Boolean))
const before = [
  ['getMe', nobody],
  ['changePassword', nobody],
  ['deleteMe', nobody],
  ['getUser', [404, 'User with id: 1 not found']],
  ['logIn', [401, 'Invalid credentials']],
  ['refreshTokens', [401, 'Invalid or expired refresh token']],
  ['logOut', [404, 'Refresh token not found']],
  ['logOutEverywhere', nobody],
  ['listSessions', nobody],
  ['endSession', nobody],
  ['listPosts', 200],
  ['createPost', nobody],
  ['getPost', [404, 'Post with id: 1 not found']],
  ['updatePost', nobody],
  ['deletePost', nobody],
  ['castVote', nobody],
  ['getRoot', 200],
  ['getHealth', 200],
  ['getOpenApi', 200],
  ['getDocs', 200],
  ['getRedoc', 200],
]
assert.deepEqual([...before.map(([operation]) => operation), 'signUp'].sort(), made.sort())
await executeAll(page, before)

// with an account, whose address and password the login is filled in with,
await executeAll(page, [
  ['signUp', 201],
  ['signUp', [409, "An account with email 'ann@example.com' already exists"]],
  ['logIn', 200],
])
await authorize(page, 'ann@example.com', 'opal-lantern-42')
assert.equal(await closed.count(), padlocks)

// and logged in.
await executeAll(page, [
  ['getMe', 200],
  ['getUser', 200],
  ['listSessions', 200],
  ['castVote', [404, 'Post with id: 1 does not exist']],
  ['createPost', 201],
  ['listPosts', 200],
  ['getPost', 200],
  ['updatePost', 200],
  ['castVote', 201],
  ['castVote', [409, 'user 1 has already voted on post 1']],
  ['refreshTokens', [401, 'Invalid or expired refresh token']],
  ['logOut', [404, 'Refresh token not found']],
  // The login above, not the one of the dialog.
  ['endSession', 204],
  ['endSession', [404, 'Session with id: 1 not found']],
  ['deletePost', 204],
  ['deletePost', [404, 'Post with id: 1 not found']],
  ['changePassword', 200],
  ['deleteMe', [403, 'Invalid password']],
  ['logOutEverywhere', 200],
  ['getMe', [401, 'Could not validate credentials']],
])
await page.screenshot({ path: `${pictures}/docs-as-filled-in.png`, fullPage: true })
refusalsAreFine = false
await page.close()

// A person who fills in what they like.
page = await context.newPage()
await page.goto(`${api}/docs`)
await page.locator('.opblock').nth(operations.length - 1).waitFor()

// Sign up.
const user = await tryOut(page, 'signUp', { email, password })
assert.equal(user.status, 201)
assert.equal(user.body.email, email)
await look(page, 'docs-sign-up')

// Log in through the dialog; the page keeps the token.
await authorize(page, email, password)

// Write a post and vote for it.
const post = await tryOut(page, 'createPost', { title: 'From a browser', content: 'By hand' })
assert.equal(post.status, 201)
await look(page, 'docs-create-post')
const vote = await tryOut(page, 'castVote', { post_id: post.body.id, dir: 1 })
assert.equal(vote.status, 201)
await look(page, 'docs-vote')

// The API has both.
const [listed] = await ask('/posts/')
assert.deepEqual(
  [listed.Post.id, listed.Post.title, listed.Post.owner.id, listed.votes],
  [post.body.id, 'From a browser', user.body.id, 1],
)

// ReDoc shows every operation, too, and finds one.
await page.goto(`${api}/redoc`)
await page.locator('[data-section-id^="tag/"][data-section-id*="/operation/"]').nth(operations.length - 1).waitFor()
await look(page, 'redoc')
await page.locator('[role=search] input').fill('vote')
await page.locator('[data-role="search:results"] [role=menuitem]').first().waitFor()
await look(page, 'redoc-search')

// A slash at the end changes nothing.
for (const [path, shown] of [['/docs/', '.opblock'], ['/redoc/', '[data-section-id]']]) {
  await page.goto(api + path)
  await page.locator(shown).first().waitFor()
  await look(page, 'slash')
}

await browser.close()
console.log('The pages let a person sign up, log in, write a post and vote for it, and fetched nothing from elsewhere.')
