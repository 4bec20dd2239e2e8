/** Asks again and again, one question at a time, also after failures, and at once when the page is seen again. */

const ANSWER_WITHIN_MS = 10_000;

/**
 * @param {object} options
 * @param {number} options.every_ms from one question to the next
 * @param {(signal: AbortSignal) => Promise<void>} options.ask
 * @param {(error: Error) => void} options.onFailure
 * @returns {{stop: () => void, resume: () => void, readonly isRunning: boolean}}
 */
export function poll({ every_ms, ask, onFailure }) {
  let timer;
  let isRunning = true;
  let isAsking = false;

  async function turn() {
    clearTimeout(timer);
    if (isAsking || !isRunning) return;
    isAsking = true;
    const began = performance.now();
    try {
      await ask(AbortSignal.timeout(ANSWER_WITHIN_MS));
    } catch (error) {
      onFailure(error);
    } finally {
      isAsking = false;
    }
    if (isRunning) timer = setTimeout(turn, Math.max(200, every_ms - (performance.now() - began)));
  }

  document.addEventListener("visibilitychange", () => document.hidden || turn());
  turn();
  return {
    stop() {
      isRunning = false;
      clearTimeout(timer);
    },
    resume() {
      isRunning = true;
      turn();
    },
    get isRunning() {
      return isRunning;
    },
  };
}
