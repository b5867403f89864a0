import { systemClock, type Clock, type SessionRef } from "../index.js";
import { checkModels } from "./models.js";
import { isObject } from "./protocols/approvals.js";

/** Who makes a request, as the host's `authenticate` says. Further fields are the host's own. */
export interface HttpUser {
  readonly userId: string;
}

/** A model that clients may choose. */
export interface ModelChoice {
  readonly provider?: string | undefined;
  readonly model?: string | undefined;
}

export interface CorsOptions {
  /** The origins that may call, such as `https://app.example.com`; their requests may carry cookies. */
  readonly origins: readonly string[];
  /** How long browsers may remember that, in seconds. @defaultValue 600 */
  readonly maxAgeSeconds?: number | undefined;
}

type Awaitable<T> = T | Promise<T>;

/** How {@link createHttpHandler} is built. */
export interface HttpHandlerOptions<TUser extends HttpUser = HttpUser, TContext = unknown> {
  /**
   * Says who makes a request, from its cookies or headers; null for nobody (401). Everything that a request reaches is
   * the user's own. Required, unless `anonymous` is true.
   */
  readonly authenticate?: ((request: Request) => Awaitable<TUser | null | undefined>) | undefined;
  /**
   * Serves requests without a user too. Their session ids are all that protects them: ids need 128 random bits (a
   * UUID, 22 characters of base64url, 32 of hex, 39 digits), and there is no list of sessions. @defaultValue false
   */
  readonly anonymous?: boolean | undefined;
  /** Whether a user may use the admin routes. @defaultValue nobody may */
  readonly isAdmin?: ((user: TUser, request: Request) => Awaitable<boolean>) | undefined;
  /** Where the routes begin. @defaultValue "/agent_backend" */
  readonly basePath?: string | undefined;
  /**
   * What clients may choose with `provider` and `model_name`. What one of them names, all name, so that no session keeps
   * the half of another choice. @defaultValue the service's configured one
   */
  readonly allowModels?: readonly ModelChoice[] | undefined;
  /** Which other origins may call from a browser. @defaultValue none */
  readonly cors?: CorsOptions | undefined;
  /** The most that a request's body may take, in bytes. @defaultValue 262_144 */
  readonly maxBodyBytes?: number | undefined;
  /** How long a stream may be silent before a comment is sent, in milliseconds; 0 means for ever. @defaultValue 10_000 */
  readonly heartbeatMs?: number | undefined;
  /** The per-run context of runs that a request starts. `user` is undefined only with `anonymous`. */
  readonly context?:
    ((request: Request, user: TUser | undefined, session: SessionRef) => Awaitable<TContext>) | undefined;
  /** Shows clients what tools said when they failed; it may name addresses of the inside. @defaultValue false */
  readonly showToolErrors?: boolean | undefined;
  readonly agUi?:
    | {
        /** Speaks CopilotKit's older form of interrupts too. @defaultValue false */
        readonly legacyInterrupts?: boolean | undefined;
      }
    | undefined;
  /** Told, whole, what clients are told as a code and fixed text. Errors of runs come as the service's `error` event. */
  readonly onError?: ((error: unknown, request: Request) => void) | undefined;
  /** @defaultValue the system's clock */
  readonly clock?: Clock | undefined;
}

/** The default of every option that has one. */
export const httpDefaults = Object.freeze({
  basePath: "/agent_backend",
  maxBodyBytes: 262_144,
  heartbeatMs: 10_000,
  corsMaxAgeSeconds: 600,
});

/** Options as the routes use them: checked, and with their defaults. */
export interface HttpSettings<TUser extends HttpUser, TContext> {
  readonly authenticate: ((request: Request) => Awaitable<TUser | null | undefined>) | undefined;
  readonly anonymous: boolean;
  readonly isAdmin: ((user: TUser, request: Request) => Awaitable<boolean>) | undefined;
  readonly basePath: string;
  readonly allowModels: readonly ModelChoice[] | undefined;
  readonly cors: { readonly origins: ReadonlySet<string>; readonly maxAgeSeconds: number } | undefined;
  readonly maxBodyBytes: number;
  readonly heartbeatMs: number;
  readonly context: HttpHandlerOptions<TUser, TContext>["context"];
  readonly showToolErrors: boolean;
  readonly legacyInterrupts: boolean;
  readonly clock: Clock;
  onError(error: unknown, request: Request): void;
}

const KEYS: ReadonlySet<string> = new Set([
  "authenticate",
  "anonymous",
  "isAdmin",
  "basePath",
  "allowModels",
  "cors",
  "maxBodyBytes",
  "heartbeatMs",
  "context",
  "showToolErrors",
  "agUi",
  "onError",
  "clock",
] satisfies (keyof HttpHandlerOptions)[]);

/**
 * Checks the options of a handler over a service whose sessions begin with the `configured` model.
 *
 * @throws {TypeError | RangeError} for options that are wrong.
 */
export function checkHttpOptions<TUser extends HttpUser, TContext>(
  options: HttpHandlerOptions<TUser, TContext>,
  configured: ModelChoice,
): HttpSettings<TUser, TContext> {
  // A caller in plain JavaScript may have left them out.
  if (typeof (options as unknown) !== "object" || (options as unknown) === null) {
    throw new TypeError("Expected `options` to be an object with an `authenticate` function");
  }
  for (const key of Object.keys(options)) {
    if (!KEYS.has(key)) throw new TypeError(`Unknown option \`${key}\`. Known: ${[...KEYS].join(", ")}`);
  }
  const { authenticate, anonymous = false, isAdmin, context, onError, allowModels, cors, agUi } = options;
  const { showToolErrors = false } = options;
  for (const [name, value] of Object.entries({ authenticate, isAdmin, context, onError })) {
    if (value !== undefined && typeof value !== "function") {
      throw new TypeError(`Expected \`${name}\` to be a function, got ${typeof value}`);
    }
  }
  checkBoolean("anonymous", anonymous);
  checkBoolean("showToolErrors", showToolErrors);
  checkKeys("agUi", agUi ?? {}, ["legacyInterrupts"]);
  checkBoolean("agUi.legacyInterrupts", agUi?.legacyInterrupts ?? false);
  if (authenticate === undefined && !anonymous) {
    throw new TypeError(
      "Expected `authenticate` to be a function that says who makes a request. To serve everybody, say `anonymous: true`",
    );
  }
  return {
    authenticate,
    anonymous,
    isAdmin,
    basePath: checkBasePath(options.basePath ?? httpDefaults.basePath),
    allowModels: allowModels === undefined ? undefined : checkModels(allowModels, configured),
    cors: cors === undefined ? undefined : checkCors(cors),
    maxBodyBytes: checkInteger("maxBodyBytes", options.maxBodyBytes ?? httpDefaults.maxBodyBytes, 1),
    heartbeatMs: checkInteger("heartbeatMs", options.heartbeatMs ?? httpDefaults.heartbeatMs, 0),
    context,
    showToolErrors,
    legacyInterrupts: agUi?.legacyInterrupts ?? false,
    clock: options.clock ?? systemClock,
    onError: (error, request) => {
      try {
        onError?.(error, request);
      } catch {
        // A listener that throws must not change the answer.
      }
    },
  };
}

function checkBoolean(name: string, value: unknown): void {
  if (typeof value !== "boolean")
    throw new TypeError(`Expected \`${name}\` to be true or false, got ${typeof value}`);
}

function checkKeys(name: string, value: unknown, known: readonly string[]): void {
  if (!isObject(value)) throw new TypeError(`Expected \`${name}\` to be an object`);
  const unknown = Object.keys(value).find((key) => !known.includes(key));
  if (unknown !== undefined) {
    throw new TypeError(`Unknown option \`${unknown}\` of \`${name}\`. Known: ${known.join(", ")}`);
  }
}

function checkInteger(name: string, value: number, min: number): number {
  if (Number.isSafeInteger(value) && value >= min) return value;
  const Problem = typeof (value as unknown) === "number" ? RangeError : TypeError;
  throw new Problem(
    `Expected \`${name}\` to be an integer from ${String(min)} up, got \`${String(value)}\` (${typeof value})`,
  );
}

function checkBasePath(basePath: string): string {
  if (typeof (basePath as unknown) !== "string" || !/^(\/[\w.~-]+)*\/?$/.test(basePath)) {
    throw new TypeError(`Expected \`basePath\` to be a path such as "/agent_backend", got \`${basePath}\``);
  }
  return basePath.replace(/\/$/, "");
}

function checkCors(cors: CorsOptions): NonNullable<HttpSettings<HttpUser, unknown>["cors"]> {
  checkKeys("cors", cors, ["origins", "maxAgeSeconds"]);
  const { origins, maxAgeSeconds = httpDefaults.corsMaxAgeSeconds } = cors;
  if (!Array.isArray(origins)) throw new TypeError("Expected `cors.origins` to be a list of origins");
  for (const origin of origins as readonly unknown[]) {
    if (typeof origin !== "string" || !URL.canParse(origin) || new URL(origin).origin !== origin) {
      throw new TypeError(
        `Expected each of \`cors.origins\` to be an origin such as "https://app.example.com", got \`${String(origin)}\``,
      );
    }
  }
  return { origins: new Set(origins), maxAgeSeconds: checkInteger("cors.maxAgeSeconds", maxAgeSeconds, 0) };
}
