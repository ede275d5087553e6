// The tenant service's reads as NestJS with its Fastify adapter and Mongoose with .lean(): the same queries along the
// same indexes of the same collection, the same token check, the same bytes. Decorators are applied by hand, so that
// nothing is compiled.

import 'reflect-metadata'
import { createHash, createPublicKey, randomUUID, verify } from 'node:crypto'
import {
  BadRequestException,
  Controller,
  Get,
  Module,
  NotFoundException,
  Param,
  Query,
  Req,
  Res,
  UnauthorizedException,
} from '@nestjs/common'
import { NestFactory } from '@nestjs/core'
import { FastifyAdapter } from '@nestjs/platform-fastify'
import mongoose from 'mongoose'

const { PORT, MONGO_URI, MONGO_DATABASE, INTERNAL_KEYS, TOKEN_CACHE } = process.env
const CACHED_TOKENS = 4_096
const COUNTS_MS = 5_000

const connection = await mongoose
  .createConnection(MONGO_URI, {
    dbName: MONGO_DATABASE,
    maxPoolSize: 50,
    readConcernLevel: 'majority',
    autoIndex: false,
    autoCreate: false,
  })
  .asPromise()

const tenantSchema = new mongoose.Schema(
  {
    _id: String,
    slug: String,
    name: String,
    plan: String,
    cycle: String,
    currency: String,
    seats: Number,
    domains: [new mongoose.Schema({ name: String, primary: Boolean }, { _id: false })],
    billing: new mongoose.Schema({ contact: String, company: String, address: String }, { _id: false }),
    partner: String,
    status: String,
    suspended_reason: String,
    created_at: Date,
    updated_at: Date,
    version: Number,
    ownership: [new mongoose.Schema({ partner: String, since: Date, until: Date }, { _id: false })],
    detached_until: Date,
    deletion: new mongoose.Schema(
      {
        requested_at: Date,
        reason: String,
        erase_after: Date,
        restores_to: String,
        erasing_since: Date,
        erased_at: Date,
      },
      { _id: false },
    ),
    words: [String],
    prefixes: [String],
  },
  { collection: 'tenants', versionKey: false },
)
const Tenant = connection.model('Tenant', tenantSchema)
const countsSchema = new mongoose.Schema({ _id: String }, { collection: 'tenant_counts', versionKey: false, strict: false })
const Counts = connection.model('Counts', countsSchema)

const publicKeys = new Map(
  Object.entries(JSON.parse(INTERNAL_KEYS)).map(([kid, { owner, x }]) => [
    kid,
    { owner, key: createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' }) },
  ]),
)
const verified = TOKEN_CACHE === '1' ? new Map() : null

function principalOf(token) {
  const known = verified?.get(token)
  if (known !== undefined && known.exp * 1000 > Date.now()) return known.principal
  const [header, payload, signature] = token.split('.')
  const { alg, typ, kid } = JSON.parse(Buffer.from(header, 'base64url'))
  const { owner, key } = publicKeys.get(kid)
  const genuine = verify(null, Buffer.from(`${header}.${payload}`), key, Buffer.from(signature, 'base64url'))
  const claims = JSON.parse(Buffer.from(payload, 'base64url'))
  const fits = alg === 'EdDSA' && typ === 'dezky-internal+jwt' && claims.iss === owner && claims.aud === 'tenant'
  if (!genuine || !fits || claims.exp * 1000 <= Date.now()) throw new UnauthorizedException()
  if (verified !== null) {
    if (verified.size >= CACHED_TOKENS) verified.delete(verified.keys().next().value)
    verified.set(token, claims)
  }
  return claims.principal
}

function admit(request, reply, done) {
  if (request.url === '/livez') return done()
  const authorization = request.headers.authorization ?? ''
  try {
    request.principal = principalOf(authorization.slice(7))
    reply.header('x-request-id', request.headers['x-request-id'] ?? randomUUID())
    done()
  } catch {
    reply.code(401).send()
  }
}

function viewOf(t) {
  return {
    id: t._id,
    slug: t.slug,
    name: t.name,
    plan: t.plan,
    cycle: t.cycle,
    currency: t.currency,
    seats: t.seats,
    domains: (t.domains ?? []).map((d) => ({ name: d.name, primary: d.primary })),
    billing: { contact: t.billing.contact, company: t.billing.company, address: t.billing.address },
    partner: t.partner,
    status: t.status,
    suspendedReason: t.suspended_reason,
    createdAt: t.created_at,
    updatedAt: t.updated_at,
    version: t.version,
    ownership: t.ownership.map((past) => ({ partner: past.partner, since: past.since, until: past.until })),
    detachedUntil: t.detached_until,
    detachedOverdue: t.partner === null && t.detached_until !== null && t.detached_until <= Date.now(),
    deletion: t.deletion && {
      requestedAt: t.deletion.requested_at,
      reason: t.deletion.reason,
      eraseAfter: t.deletion.erase_after,
      restoresTo: t.deletion.restores_to,
      erasingSince: t.deletion.erasing_since,
      erasedAt: t.deletion.erased_at,
    },
    provisioning: {},
  }
}

function fingerprintOf(filters) {
  const sorted = Object.fromEntries(Object.entries(filters).sort(([a], [b]) => (a < b ? -1 : 1)))
  return createHash('sha256').update(JSON.stringify(sorted)).digest('hex').slice(0, 16)
}

function cursorOf(slug, filters) {
  return Buffer.from(JSON.stringify({ k: [slug], q: fingerprintOf(filters) })).toString('base64url')
}

function slugAfter(cursor, filters) {
  const { k, q } = JSON.parse(Buffer.from(cursor, 'base64url'))
  if (q !== fingerprintOf(filters)) throw new BadRequestException()
  return k[0]
}

// The design of services/tenant/lists.py: what comes before the slug in the index is equal, or one of five statuses.
const STATUSES = ['pending', 'active', 'suspended', 'deleting', 'deleted']
const LONGEST_PREFIX = 8
const WITHOUT_SEARCH = { words: 0, prefixes: 0 }
const by = (...names) => Object.fromEntries([...names, 'slug'].map((name) => [name, 1]))
const startsWith = (word) => ({ words: { $regex: `^${word}` } })

function tellingWords(q) {
  const words = [...new Set(q.toLowerCase().match(/[^\W_]+/g) ?? [])].sort()
  const telling = words.filter((word) => !words.some((other) => other !== word && other.startsWith(word)))
  return telling.sort((a, b) => b.length - a.length)
}

function walksOf(filters, owners, after) {
  const words = filters.q ? tellingWords(filters.q) : []
  const beyond = after === null ? {} : { slug: { $gt: after } }
  const exact = { ...(filters.status && { status: filters.status }), ...(filters.plan && { plan: filters.plan }) }
  const merged = { status: { $in: STATUSES }, ...exact, ...owners, ...beyond }
  const owner = 'partner' in owners ? ['partner'] : []
  const walks = words.slice(0, 3).map((word) => {
    const prefix = word.slice(0, LONGEST_PREFIX)
    const besides = words.filter((other) => other !== prefix)
    const rest = { ...(exact.plan && { plan: exact.plan }), ...(besides.length && { $and: besides.map(startsWith) }) }
    const { plan, ...keys } = merged
    return { keys: { ...keys, prefixes: prefix }, rest, index: by(...owner, 'prefixes', 'status') }
  })
  if (exact.plan) {
    const rest = words.length ? { $and: words.map(startsWith) } : {}
    walks.push({ keys: merged, rest, index: by(...owner, 'plan', 'status') })
  }
  if (walks.length) return walks
  return [{ keys: { ...exact, ...owners, ...beyond }, rest: {}, index: by(...owner, ...(exact.status ? ['status'] : [])) }]
}

function walk({ keys, rest, index }, limit) {
  return Tenant.find({ ...keys, ...rest }, WITHOUT_SEARCH).hint(index).sort({ slug: 1 }).limit(limit).lean()
}

async function race(walks, limit) {
  for (let steps = 4 * limit; ; steps *= 10) {
    for (const { keys, rest, index } of walks) {
      const fitting = [{ $match: rest }, { $limit: limit }, { $unset: Object.keys(WITHOUT_SEARCH) }]
      const facets = { rows: fitting, seen: [{ $count: 'rows' }] }
      const pipeline = [{ $match: keys }, { $sort: { slug: 1 } }, { $limit: steps }, { $facet: facets }]
      const [both] = await Tenant.aggregate(pipeline).hint(index)
      if (both.rows.length === limit || (both.seen[0]?.rows ?? 0) < steps) return both.rows
    }
  }
}

const counts = new Map()

function countByStatus(row) {
  const known = counts.get(row)
  if (known !== undefined && known.until >= Date.now()) return known.found
  const found = Counts.findById(row)
    .lean()
    .then((all) => Object.fromEntries(Object.entries(all ?? {}).filter(([name, n]) => name !== '_id' && n !== 0)))
  counts.set(row, { until: Date.now() + COUNTS_MS, found })
  return found
}

class Tenants {
  async list({ limit: limitText, cursor, detached, ...given }, request, reply) {
    const limit = Number(limitText ?? 100)
    const filters = detached === undefined ? given : { ...given, detached: detached === 'true' }
    const after = cursor === undefined ? null : slugAfter(cursor, filters)
    const { principal } = request
    const own = principal.surface === 'operator' && principal.platformAdmin ? null : principal.partner.slug
    const owners = detached === 'true' ? { partner: null } : filters.partner ? { partner: filters.partner } : {}
    const walks = walksOf(filters, own === null ? owners : { partner: own }, after)
    const rows = await (walks.length > 1 ? race(walks, limit + 1) : walk(walks[0], limit + 1))
    const items = rows.slice(0, limit).map(viewOf)
    const next = rows.length > limit ? cursorOf(rows[limit - 1].slug, filters) : null
    if (next !== null) {
      const query = new URLSearchParams({ ...request.query, cursor: next })
      reply.header('link', `</api/tenants?${query}>; rel="next"`)
    }
    return { items, next, counts: await countByStatus(own === null ? '*' : `partner:${own}`) }
  }

  async read(slug, reply) {
    const row = await Tenant.findOne({ slug }).lean()
    if (row === null) throw new NotFoundException()
    reply.header('etag', `"${row.version}"`)
    return viewOf(row)
  }

  live() {
    return { status: 'alive' }
  }
}

function decorate(target, name, ...decorators) {
  const descriptor = Object.getOwnPropertyDescriptor(target.prototype, name)
  for (const decorator of decorators) decorator(target.prototype, name, descriptor)
}
decorate(Tenants, 'list', Get('api/tenants'))
Query()(Tenants.prototype, 'list', 0)
Req()(Tenants.prototype, 'list', 1)
Res({ passthrough: true })(Tenants.prototype, 'list', 2)
decorate(Tenants, 'read', Get('api/tenants/:slug'))
Param('slug')(Tenants.prototype, 'read', 0)
Res({ passthrough: true })(Tenants.prototype, 'read', 1)
decorate(Tenants, 'live', Get('livez'))
Controller()(Tenants)

class Peer {}
Module({ controllers: [Tenants] })(Peer)

const adapter = new FastifyAdapter({ logger: false, keepAliveTimeout: 75_000 })
adapter.getInstance().addHook('onRequest', admit)
const app = await NestFactory.create(Peer, adapter, { logger: false })
await app.listen(Number(PORT), '127.0.0.1')
