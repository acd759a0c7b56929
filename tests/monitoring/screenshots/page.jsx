// One dashboard, drawn by Grafana's own chart code (@grafana/ui, @grafana/data). It knows nothing of this project: the
// dashboard's JSON, with Prometheus' answer in each target, is in SHOWN. What Grafana's server and its panel plugins
// would add and nobody publishes stands here: the grid, the rows, the defaults of the two kinds of panels.
import '@fontsource/inter/latin-400.css';
import '@fontsource/inter/latin-500.css';
import {
  BigValue, BigValueColorMode, BigValueGraphMode, BigValueTextMode, GlobalStyles, PanelChrome, ThemeContext, TimeSeries,
} from '@grafana/ui';
import {
  applyFieldOverrides, createTheme, dateTime, FieldType, getFieldDisplayValues, toDataFrame,
} from '@grafana/data';
import { flushSync } from 'react-dom';
import { createRoot } from 'react-dom/client';

const { dashboard, from, to, step } = window.SHOWN; // seconds
const theme = createTheme({ colors: { mode: 'dark' } });
const timeRange = { from: dateTime(from * 1000), to: dateTime(to * 1000) };
timeRange.raw = timeRange;

const [WIDTH, CELL, GAP] = [1600, 30, 8]; // Grafana's grid: 24 columns, cells 30 pixels high
const COLUMN = (WIDTH - GAP) / 24;
const THRESHOLDS = { mode: 'absolute', steps: [{ value: -Infinity, color: 'green' }, { value: 80, color: 'red' }] };
const LINES = {
  axisPlacement: 'auto', drawStyle: 'line', fillOpacity: 0, gradientMode: 'none', lineInterpolation: 'linear', lineWidth: 1,
  pointSize: 5, scaleDistribution: { type: 'linear' }, showPoints: 'auto', spanNulls: false, stacking: { mode: 'none', group: 'A' },
};
const COLOURS = { stat: 'thresholds', timeseries: 'palette-classic' };

const nameOf = (labels, { legendFormat }) =>
  legendFormat
    ? legendFormat.replace(/\{\{\s*(\w+)\s*\}\}/g, (_, label) => labels[label] ?? '')
    : `{${Object.entries(labels).map(([label, value]) => `${label}="${value}"`).join(', ')}}`;

const times = Array.from({ length: Math.floor((to - from) / step) + 1 }, (_, n) => (from + n * step) * 1000);

function valuesOf(points) {
  const values = times.map(() => null); // where there is nothing, or 0 / 0, a line is broken
  for (const [at, text] of points) {
    const value = Number(text);
    if (Number.isFinite(value)) values[Math.round((at - from) / step)] = value;
  }
  return values;
}

function framesOf(panel) {
  const { custom, ...defaults } = panel.fieldConfig.defaults;
  const config = { thresholds: THRESHOLDS, color: { mode: COLOURS[panel.type] }, ...defaults };
  const data = panel.targets.flatMap((target) =>
    target.series.map(({ metric, values }) =>
      toDataFrame({
        refId: target.refId,
        fields: [
          { name: 'Time', type: FieldType.time, values: times },
          {
            name: 'Value', type: FieldType.number, labels: metric, values: valuesOf(values),
            config: {
              ...config, displayNameFromDS: nameOf(metric, target),
              custom: { ...LINES, ...custom, stacking: { ...LINES.stacking, ...custom?.stacking } },
            },
          },
        ],
      })));
  const nothing = { fieldConfig: { defaults: {}, overrides: [] }, replaceVariables: (text) => text, timeZone: 'utc', theme };
  return applyFieldOverrides({ data, ...nothing });
}

const KINDS = {
  timeseries: (panel, frames, width, height) => (
    <TimeSeries frames={frames} structureRev={1} timeRange={timeRange} timeZone="utc" width={width} height={height}
      legend={panel.options.legend} />
  ),
  stat: (panel, frames, width, height) => {
    const [{ display, sparkline }] = getFieldDisplayValues({
      data: frames, reduceOptions: { calcs: ['lastNotNull'] }, fieldConfig: { defaults: {}, overrides: [] },
      replaceVariables: (text) => text, timeZone: 'utc', sparkline: true, theme,
    });
    return (
      <BigValue value={display} sparkline={sparkline} width={width} height={height} theme={theme} count={1}
        colorMode={BigValueColorMode.Value} graphMode={BigValueGraphMode.Area} textMode={BigValueTextMode.Auto} />
    );
  },
};

function Panel({ panel, width, height }) {
  const frames = framesOf(panel);
  return (
    <PanelChrome title={panel.title} width={width} height={height}>
      {(inside, high) => (frames.length ? KINDS[panel.type](panel, frames, inside, high) : 'No data')}
    </PanelChrome>
  );
}

const Row = ({ title }) => <div style={{ fontSize: 16, fontWeight: 500, lineHeight: `${CELL}px` }}>⌄ {title}</div>;

function Placed({ panel }) {
  const { x, y, w, h } = panel.gridPos;
  const [width, height] = [w * COLUMN - GAP, h * (CELL + GAP) - GAP];
  return (
    <div style={{ position: 'absolute', left: GAP + x * COLUMN, top: (y + 1) * (CELL + GAP) + GAP, width, height }}>
      {panel.type === 'row' ? <Row title={panel.title} /> : <Panel {...{ panel, width, height }} />}
    </div>
  );
}

function Dashboard() {
  const panels = dashboard.panels.flatMap((panel) => [panel, ...(panel.panels ?? [])]);
  return (
    <ThemeContext.Provider value={theme}>
      <GlobalStyles />
      <div>
        <div style={{ padding: GAP, fontSize: 20, fontWeight: 500 }}>{dashboard.title}</div>
        {panels.map((panel) => <Placed key={`${panel.type} ${panel.title}`} panel={panel} />)}
      </div>
    </ThemeContext.Provider>
  );
}

Promise.all([400, 500].map((weight) => document.fonts.load(`${weight} 14px Inter`))).then(() => {
  flushSync(() => createRoot(document.getElementById('page')).render(<Dashboard />));
  setTimeout(() => console.log(`drawn: ${document.querySelectorAll('canvas').length} canvases`), 2000);
});
