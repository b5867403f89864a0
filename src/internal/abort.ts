/** Throws the signal's reason, whatever it is, if the signal is aborted. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  signal?.throwIfAborted();
}

/** Calls `listener` when the signal aborts, at once if it has; the returned function detaches it. */
export function onAbort(signal: AbortSignal | undefined, listener: () => void): () => void {
  if (signal === undefined) return () => undefined;
  if (signal.aborted) {
    listener();
    return () => undefined;
  }
  signal.addEventListener("abort", listener, { once: true });
  return () => {
    signal.removeEventListener("abort", listener);
  };
}

/**
 * Waits for a promise, but not after the signal aborts: then rejects with the signal's reason and leaves the
 * promise to itself (a later rejection of it is swallowed).
 */
export function untilAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  return new Promise<T>((resolve, reject) => {
    const detach = onAbort(signal, () => {
      // The reason is what the host gave to abort(); it is passed on as it is.
      // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors
      reject(signal.reason);
    });
    promise.then(resolve, reject).finally(detach);
  });
}
