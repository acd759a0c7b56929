// One dashboard, drawn by Grafana's own chart code from the points that `python -m tests.monitoring --save` kept.
import React from 'react';
import { createRoot } from 'react-dom/client';
import { TimeSeries, BigValue, BigValueColorMode, BigValueGraphMode, ThemeContext } from '@grafana/ui';
import { applyFieldOverrides, createTheme, dateTime, FieldType, getDisplayProcessor, toDataFrame } from '@grafana/data';

const theme = createTheme({ colors: { mode: 'dark' } });
const COLUMN = 50;
const GAP = 8;

const nameOf = (legend, labels) => {
  const known = Object.fromEntries(labels.split(', ').filter(Boolean).map((pair) => pair.split('=')));
  return legend.replace(/\{\{(\w+)\}\}/g, (_, name) => known[name] ?? '') || 'value';
};

function framesOf(panel) {
  const stack = panel.kind === 'stack';
  const times = [...new Set(panel.queries.flatMap((q) => Object.values(q.series).flatMap((line) => line.map(([at]) => at))))].sort();
  const frames = panel.queries.flatMap((query) =>
    Object.entries(query.series)
      .filter(([, line]) => line.length)
      .map(([labels, line]) => {
        const known = new Map(line);
        const config = {
          unit: panel.unit,
          displayName: nameOf(query.legend, labels),
          custom: {
            drawStyle: 'line',
            lineWidth: 1,
            fillOpacity: stack ? 40 : 8,
            showPoints: 'never',
            spanNulls: 15000,
            stacking: stack ? { mode: 'normal', group: 'A' } : { mode: 'none' },
          },
          min: 0,
          color: { mode: 'palette-classic' },
        };
        return toDataFrame({
          fields: [
            { name: 'Time', type: FieldType.time, values: times.map((at) => at * 1000) },
            { name: config.displayName, type: FieldType.number, values: times.map((at) => known.get(at) ?? null), config },
          ],
        });
      })
  );
  return applyFieldOverrides({ data: frames, fieldConfig: { defaults: {}, overrides: [] }, replaceVariables: (v) => v, theme, timeZone: 'utc' });
}

function Panel({ panel, range }) {
  const width = panel.width * COLUMN - GAP;
  const isStat = panel.kind === 'stat';
  const height = isStat ? 90 : 230;
  const frames = framesOf(panel);
  const box = {
    width, height, boxSizing: 'border-box', padding: '4px 8px', overflow: 'hidden', borderRadius: 3,
    background: theme.colors.background.primary, border: `1px solid ${theme.colors.border.weak}`,
  };
  let inner = null;
  if (frames.length && isStat) {
    const field = frames[0].fields[1];
    const values = field.values.filter((v) => v !== null);
    const show = getDisplayProcessor({ field: { ...field, config: { unit: panel.unit, decimals: 0 } }, theme });
    inner = (
      <BigValue width={width - 18} height={height - 30} theme={theme} colorMode={BigValueColorMode.Value}
        graphMode={BigValueGraphMode.None} value={{ ...show(values[values.length - 1]), title: '' }} />
    );
  } else if (frames.length) {
    inner = (
      <TimeSeries frames={frames} structureRev={1} timeRange={range} timeZone="utc" width={width - 18} height={height - 30}
        legend={{ displayMode: 'list', placement: 'bottom', calcs: [], showLegend: true }} />
    );
  }
  return (
    <div style={box}>
      <div style={{ fontSize: 12, fontWeight: 500, height: 18, whiteSpace: 'nowrap' }}>{panel.title}</div>
      {inner}
    </div>
  );
}

async function main() {
  const board = new URLSearchParams(location.search).get('board');
  const panels = (await (await fetch('panels.json')).json()).filter((panel) => panel.board === board);
  const times = panels.flatMap((p) => p.queries.flatMap((q) => Object.values(q.series).flatMap((line) => line.map(([at]) => at))));
  const [from, to] = [Math.min(...times), Math.max(...times)].map((at) => dateTime(at * 1000));
  const range = { from, to, raw: { from, to } };
  const page = {
    background: theme.colors.background.canvas, color: theme.colors.text.primary, padding: GAP,
    width: 24 * COLUMN + GAP, font: '12px Inter, sans-serif', display: 'flex', flexWrap: 'wrap', gap: GAP, alignContent: 'start',
  };
  createRoot(document.getElementById('page')).render(
    <ThemeContext.Provider value={theme}>
      <div style={page}>
        <div style={{ width: '100%', fontSize: 18 }}>{board}</div>
        {panels.map((panel) => <Panel key={panel.title} panel={panel} range={range} />)}
      </div>
    </ThemeContext.Provider>
  );
  setTimeout(() => { document.title = 'drawn'; }, 2500);
}

main().catch((error) => { document.title = `failed: ${error.stack}`; });
