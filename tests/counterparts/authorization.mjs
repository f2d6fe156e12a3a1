// SPDX-License-Identifier: Apache-2.0
// A strict authorization server that nobody on this project wrote: oidc-provider, set up as SMART App Launch 2.2 asks.
//
// It requires PKCE with S256, checks client assertions and remembers each `jti`, rotates refresh tokens, and ends all
// that a grant gave once a used one comes back. Set up here is what only SMART knows: `aud` and `launch`, the launch
// context beside the token, `fhirUser`, the scopes of a FHIR base, and that an assertion lives five minutes at most.
//
// Clients register themselves (RFC 7591) and name `fhir_base`, what they may be granted there (`fhir_scope`), and for
// how long (`fhir_token_seconds`).
// Nobody sits before it: whoever is asked for consent agrees to everything at once.
import { generateKeyPairSync } from 'node:crypto';
import Provider, { errors } from 'oidc-provider';

const ACCOUNT = 'practitioner-1';
const ASSERTION_SECONDS = 300; // https://hl7.org/fhir/smart-app-launch/client-confidential-asymmetric.html
const TOKEN_SECONDS = 300;
const ALGORITHMS = ['RS384', 'ES384'];
const METHODS = ['none', 'client_secret_basic', 'private_key_jwt'];
const CONTEXT = ['patient', 'encounter', 'fhirContext', 'intent', 'tenant', 'need_patient_banner'];

/**
 * The provider for an issuer, and how a FHIR server asks it. `patientOf(base)` names the patient whom the person
 * before the screen picks where the launch names none.
 */
export function authorizationServer(issuer, patientOf) {
  const contexts = new Map(); // launch context by grant
  const provider = new Provider(issuer, configuration());
  provider.use(async (ctx, next) => {
    await next();
    const grant = ctx.oidc?.entities.Grant?.jti;
    if (ctx.oidc?.route === 'token' && ctx.status === 200 && contexts.has(grant)) {
      Object.assign(ctx.body, contexts.get(grant));
    }
  });
  const answered = provider.callback();

  async function listener(request, response) {
    if (!request.url.startsWith('/interaction/')) {
      return answered(request, response);
    }
    const { params, prompt } = await provider.interactionDetails(request, response);
    const grant = new provider.Grant({ accountId: ACCOUNT, clientId: params.client_id });
    grant.addOIDCScope((prompt.details.missingOIDCScope ?? params.scope.split(' ')).join(' '));
    for (const [base, scopes] of Object.entries(prompt.details.missingResourceScopes ?? {})) {
      grant.addResourceScope(base, scopes.join(' '));
    }
    const grantId = await grant.save();
    contexts.set(grantId, await contextOf(params));
    const result = { login: { accountId: ACCOUNT }, consent: { grantId } };
    return provider.interactionFinished(request, response, result, { mergeWithLastSubmission: true });
  }

  async function contextOf(params) {
    if (params.launch) {
      return decoded(params.launch);
    }
    return params.scope.split(' ').includes('launch/patient') ? { patient: await patientOf(params.aud) } : {};
  }

  async function mayRead(value, base, type) {
    const token = (await provider.AccessToken.find(value)) ?? (await provider.ClientCredentials.find(value));
    if (!token?.isValid || token.aud !== base) {
      return undefined;
    }
    return [...token.scopes].some((scope) => scope.includes(`/${type}.`) || scope.includes('/*.'));
  }

  return { listener, mayRead, configuration: () => smartConfiguration(issuer) };
}

function configuration() {
  return {
    assertJwtClientAuthClaimsAndHeader: assertAsSmart,
    claims: { openid: ['sub'], fhirUser: ['fhirUser'] },
    clientAuthMethods: METHODS,
    conformIdTokenClaims: false, // EHRs put fhirUser into the id_token
    cookies: { keys: ['loopback'] },
    enabledJWA: { clientAuthSigningAlgValues: ALGORITHMS },
    extraClientMetadata: { properties: ['fhir_base', 'fhir_scope', 'fhir_token_seconds'] },
    extraParams: { aud: assertAudience, launch: assertLaunch },
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      registration: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: (ctx, client) => client.fhir_base,
        getResourceServerInfo: (ctx, base, client) => ({
          audience: base,
          scope: client.fhir_scope,
          accessTokenFormat: 'opaque',
          accessTokenTTL: client.fhir_token_seconds ?? TOKEN_SECONDS,
        }),
        useGrantedResource: () => true,
      },
      revocation: { enabled: true, allowedPolicy: (ctx, client, token) => token.clientId === client.clientId },
    },
    findAccount: (ctx, sub) => ({
      accountId: sub,
      claims: () => ({ sub, fhirUser: `${ctx.oidc.client.fhir_base}/Practitioner/${sub}` }),
    }),
    // OpenID Connect asks for prompt=consent before offline_access; SMART does not.
    issueRefreshToken: (ctx, client) => client.grantTypeAllowed('refresh_token'),
    jwks: { keys: [signingKey()] },
    loadExistingGrant: (ctx) => {
      const grantId = ctx.oidc.result?.consent?.grantId; // each launch is a grant of its own
      return grantId && ctx.oidc.provider.Grant.find(grantId);
    },
    pkce: { required: () => true },
    renderError: (ctx, out) => {
      ctx.type = 'json';
      ctx.body = JSON.stringify(out);
    },
    rotateRefreshToken: true,
    scopes: ['openid', 'fhirUser', 'offline_access', 'launch', 'launch/patient', 'launch/encounter'],
    ttl: { Grant: 3600, Interaction: 600, RefreshToken: 3600, Session: 3600 },
  };
}

function assertAsSmart(ctx, claims, header) {
  const { clientId } = ctx.oidc.client;
  const wrong = [
    [header.typ !== 'JWT', 'typ must be JWT'],
    [!header.kid, 'kid is missing'],
    [claims.sub !== clientId, 'sub must be the client_id'],
    [claims.aud !== `${ctx.oidc.issuer}/token`, 'aud must be the token endpoint'],
    [claims.exp > Date.now() / 1000 + ASSERTION_SECONDS, `exp lies more than ${ASSERTION_SECONDS} s ahead`],
  ].filter(([found]) => found);
  if (wrong.length) {
    throw new errors.InvalidClientAuth(`client assertion: ${wrong.map(([, what]) => what).join(', ')}`);
  }
}

function assertAudience(ctx, value, client) {
  if (value !== client.fhir_base) {
    throw new errors.InvalidRequest('aud must be the FHIR base');
  }
}

function assertLaunch(ctx, value) {
  const asked = ctx.oidc.params.scope?.split(' ').includes('launch');
  if (Boolean(value) !== Boolean(asked)) {
    throw new errors.InvalidRequest('launch and the scope of this name come together');
  }
  if (value && !decoded(value)) {
    throw new errors.InvalidRequest('launch is unknown');
  }
}

/** What a `launch` of ours means to us: to the client it is opaque. */
function decoded(launch) {
  try {
    const context = JSON.parse(Buffer.from(launch, 'base64url'));
    return Object.keys(context).every((name) => CONTEXT.includes(name)) ? context : undefined;
  } catch {
    return undefined;
  }
}

function signingKey() {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  return { ...privateKey.export({ format: 'jwk' }), kid: 'counterpart', use: 'sig', alg: 'RS256' };
}

function smartConfiguration(issuer) {
  return {
    issuer,
    jwks_uri: `${issuer}/jwks`,
    authorization_endpoint: `${issuer}/auth`,
    token_endpoint: `${issuer}/token`,
    registration_endpoint: `${issuer}/reg`,
    revocation_endpoint: `${issuer}/token/revocation`,
    token_endpoint_auth_methods_supported: ['client_secret_basic', 'private_key_jwt'],
    token_endpoint_auth_signing_alg_values_supported: ALGORITHMS,
    grant_types_supported: ['authorization_code', 'client_credentials'],
    response_types_supported: ['code'],
    code_challenge_methods_supported: ['S256'],
    capabilities: [
      'launch-ehr',
      'launch-standalone',
      'client-public',
      'client-confidential-symmetric',
      'client-confidential-asymmetric',
      'sso-openid-connect',
      'context-ehr-patient',
      'context-ehr-encounter',
      'context-standalone-patient',
      'permission-offline',
      'permission-patient',
      'permission-user',
      'permission-v2',
    ],
  };
}
