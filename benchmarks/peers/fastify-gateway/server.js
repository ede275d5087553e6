// The gateway that one would build from Fastify, @fastify/http-proxy and jose: verify the bearer token, pass the
// request on with an internal token of ours in its place. Tuned as their manuals advise: no request log, undici with
// kept connections, no retries, one JWKS in memory.

import { randomUUID } from 'node:crypto'
import proxy from '@fastify/http-proxy'
import Fastify from 'fastify'
import { SignJWT, createRemoteJWKSet, importJWK, jwtVerify } from 'jose'

const { PORT, UPSTREAM, ISSUER, AUDIENCE, JWKS_URI, INTERNAL_JWK, TOKEN_CACHE } = process.env
const CACHED_TOKENS = 16_384
const REUSED_MS = 45_000

const keys = createRemoteJWKSet(new URL(JWKS_URI))
const rules = { issuer: ISSUER, audience: AUDIENCE, algorithms: ['RS256'], requiredClaims: ['exp', 'sub', 'scope'] }
const verified = TOKEN_CACHE === '1' ? new Map() : null
const internalKey = await importJWK(JSON.parse(INTERNAL_JWK), 'EdDSA')
const internalTokens = new Map()

async function claimsOf(token) {
  const known = verified?.get(token)
  if (known !== undefined && known.exp * 1000 > Date.now()) return known
  const { payload } = await jwtVerify(token, keys, rules)
  if (verified !== null) {
    if (verified.size >= CACHED_TOKENS) verified.delete(verified.keys().next().value)
    verified.set(token, payload)
  }
  return payload
}

// The person would come from a directory; here it is what the token says, which spares the peer the look-up.
async function internalTokenFor(claims) {
  const known = internalTokens.get(claims.sub)
  if (known !== undefined && known.until > Date.now()) return known.token
  const principal = { kind: 'person', id: claims.sub, email: claims.email, name: claims.name, groups: claims.groups }
  const token = await new SignJWT({ principal })
    .setProtectedHeader({ alg: 'EdDSA', kid: 'gateway-1', typ: 'dezky-internal+jwt' })
    .setIssuer('gateway')
    .setAudience('tenant')
    .setIssuedAt()
    .setExpirationTime('60s')
    .sign(internalKey)
  internalTokens.set(claims.sub, { token: `Bearer ${token}`, until: Date.now() + REUSED_MS })
  return `Bearer ${token}`
}

async function admit(request, reply) {
  const authorization = request.headers.authorization
  if (authorization === undefined || !authorization.startsWith('Bearer ')) return reply.code(401).send()
  try {
    request.internalToken = await internalTokenFor(await claimsOf(authorization.slice(7)))
  } catch {
    return reply.code(401).send()
  }
}

const app = Fastify({ logger: false, disableRequestLogging: true, genReqId: () => randomUUID(), keepAliveTimeout: 75_000 })
app.decorateRequest('internalToken', null)
app.get('/livez', async () => ({ status: 'alive' }))
app.register(proxy, {
  upstream: UPSTREAM,
  prefix: '/api/tenants',
  rewritePrefix: '/api/tenants',
  http2: false,
  disableRequestLogging: true,
  preHandler: admit,
  undici: { connections: 128, pipelining: 1, keepAliveTimeout: 30_000 },
  replyOptions: {
    retriesCount: 0,
    rewriteRequestHeaders: (request, headers) => ({
      ...headers,
      authorization: request.internalToken,
      'x-request-id': request.id,
      'x-dezky-client-ip': request.ip,
    }),
    rewriteHeaders: (headers, request) => ({ ...headers, 'x-request-id': request.id }),
  },
})

await app.listen({ host: '127.0.0.1', port: Number(PORT) })
