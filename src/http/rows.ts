import type { AgentManagerStats, HistoryMessage, ProcessStats, ServiceStats, SessionInfo } from "../index.js";
import { TOOL_ERROR_TEXT } from "./errors.js";

/*
 * What the library's objects are in JSON over HTTP: snake_case, ISO times, seconds where the name has no unit.
 */

export function sessionRow(session: SessionInfo): object {
  const { sessionId, userId, createdAt, lastUsedAt, state, provider, model, owner } = session;
  return {
    user_id: userId ?? null,
    session_id: sessionId,
    created_at: new Date(createdAt).toISOString(),
    last_used: new Date(lastUsedAt).toISOString(),
    state,
    provider: provider ?? null,
    model: model ?? null,
    owner: owner ?? null,
  };
}

export function agentsRow(stats: AgentManagerStats): object {
  return {
    total_agents: stats.totalAgents,
    active_agents: stats.activeAgents,
    idle_agents: stats.idleAgents,
    closing_agents: stats.closingAgents,
    max_agents: stats.maxAgents,
    agent_ttl: stats.agentTtlMs / 1_000,
  };
}

export function statsRow(stats: ServiceStats): object {
  const { activeRuns, sessions, processes, cluster } = stats;
  return {
    ...agentsRow(stats),
    active_runs: activeRuns,
    sessions,
    ...(processes === undefined ? undefined : { processes: processes.map(processRow) }),
    ...(cluster === undefined
      ? undefined
      : {
          cluster: {
            processes: cluster.processes,
            total_agents: cluster.totalAgents,
            active_agents: cluster.activeAgents,
            idle_agents: cluster.idleAgents,
            closing_agents: cluster.closingAgents,
            max_agents: cluster.maxAgents,
            active_runs: cluster.activeRuns,
          },
        }),
  };
}

function processRow(process: ProcessStats): object {
  const { processId, hostname, pid, startedAt, seenAt, draining, activeRuns, info } = process;
  return {
    process_id: processId,
    hostname,
    pid,
    started_at: new Date(startedAt).toISOString(),
    last_seen: new Date(seenAt).toISOString(),
    draining,
    ...agentsRow(process),
    active_runs: activeRuns,
    info,
  };
}

export function historyRow(message: HistoryMessage, showToolErrors: boolean): object {
  const { id, role, content, toolCalls, toolCallId, toolName, isError } = message;
  return {
    id,
    role,
    content: isError === true && !showToolErrors ? TOOL_ERROR_TEXT : content,
    ...(toolCalls === undefined ? undefined : { tool_calls: toolCalls }),
    ...(toolCallId === undefined ? undefined : { tool_call_id: toolCallId }),
    ...(toolName === undefined ? undefined : { tool_name: toolName }),
    ...(isError === undefined ? undefined : { is_error: isError }),
  };
}
