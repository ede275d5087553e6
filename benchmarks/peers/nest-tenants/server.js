// The tenant service's two reads as NestJS with its Fastify adapter and Mongoose with .lean(): the same query on the
// same collection, the same token check, the same bytes. Decorators are applied by hand, so that nothing is compiled.

import 'reflect-metadata'
import { createHash, createPublicKey, randomUUID, verify } from 'node:crypto'
import { Controller, Get, Module, NotFoundException, Param, Query, Res, UnauthorizedException } from '@nestjs/common'
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
  },
  { collection: 'tenants', versionKey: false },
)
const Tenant = connection.model('Tenant', tenantSchema)

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
    provisioning: {},
  }
}

const NO_FILTER = createHash('sha256').update('{}').digest('hex').slice(0, 16)

function cursorOf(slug) {
  return Buffer.from(JSON.stringify({ k: [slug], q: NO_FILTER })).toString('base64url')
}

let counts = { until: 0, byStatus: {} }

async function countByStatus() {
  if (counts.until < Date.now()) {
    const rows = await Tenant.aggregate([{ $match: {} }, { $group: { _id: '$status', n: { $sum: 1 } } }])
    counts = { until: Date.now() + COUNTS_MS, byStatus: Object.fromEntries(rows.map((row) => [row._id, row.n])) }
  }
  return counts.byStatus
}

class Tenants {
  async list(limitText) {
    const limit = Number(limitText ?? 100)
    const rows = await Tenant.find({}).sort({ slug: 1 }).limit(limit + 1).lean()
    const items = rows.slice(0, limit).map(viewOf)
    const next = rows.length > limit ? cursorOf(rows[limit - 1].slug) : null
    return { items, next, counts: await countByStatus() }
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
Query('limit')(Tenants.prototype, 'list', 0)
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
