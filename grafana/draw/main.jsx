// Draws one dashboard with Grafana's own panels over a real Prometheus. The address says which:
// ?board=overview&theme=dark&to=1795372080. What is not drawn: Grafana's menus and its variables' pickers.
import {
  FieldConfigOptionsRegistry,
  FieldType,
  LoadingState,
  applyFieldOverrides,
  createTheme,
  dateTime,
  fieldReducers,
  getDisplayProcessor,
  getFieldDisplayValues,
  standardTransformers,
  standardTransformersRegistry,
  ThemeContext,
  toDataFrame,
  transformDataFrame,
  dataLinksOverrideProcessor,
  identityOverrideProcessor,
  numberOverrideProcessor,
  stringOverrideProcessor,
  thresholdsOverrideProcessor,
  unitOverrideProcessor,
  valueMappingsOverrideProcessor,
} from '@grafana/data';
import { BarGauge, BigValue, GlobalStyles, PanelChrome, Table, TimeSeries, VizRepeater } from '@grafana/ui';
import { createRoot } from 'react-dom/client';
import { firstValueFrom } from 'rxjs';

const asked = new URLSearchParams(location.search);
const theme = createTheme({ colors: { mode: asked.get('theme') ?? 'dark' } });
const TO = Number(asked.get('to') ?? Math.floor(Date.now() / 1000));
const SECONDS = { m: 60, h: 3600, d: 86400 };
const WIDTH = 1400,
  LINE = 30,
  GAP = 8,
  COLUMN = (WIDTH - 16 + GAP) / 24;

standardTransformersRegistry.setInit(() => [
  { id: 'merge', transformation: standardTransformers.mergeTransformer, name: 'merge' },
  { id: 'organize', transformation: standardTransformers.organizeFieldsTransformer, name: 'organize' },
]);

// The properties of fields that our dashboards set, as Grafana's panels register them.
const property = (path, process, more = {}) => ({
  id: path,
  path,
  name: path,
  process,
  shouldApply: () => true,
  settings: {},
  ...more,
});
const custom = (path) => property(path, identityOverrideProcessor, { id: `custom.${path}`, isCustom: true });
const registry = new FieldConfigOptionsRegistry(() => [
  property('unit', unitOverrideProcessor),
  property('min', numberOverrideProcessor),
  property('max', numberOverrideProcessor),
  property('decimals', numberOverrideProcessor),
  property('displayName', stringOverrideProcessor),
  property('noValue', stringOverrideProcessor),
  property('color', identityOverrideProcessor),
  property('thresholds', thresholdsOverrideProcessor),
  property('mappings', valueMappingsOverrideProcessor),
  property('links', dataLinksOverrideProcessor),
  ...[
    'drawStyle',
    'barAlignment',
    'barWidthFactor',
    'lineInterpolation',
    'lineWidth',
    'fillOpacity',
    'gradientMode',
    'showPoints',
    'spanNulls',
    'lineStyle',
    'stacking',
    'axisPlacement',
    'axisLabel',
    'scaleDistribution',
    'thresholdsStyle',
    'align',
    'cellOptions',
    'inspect',
    'filterable',
    'width',
  ].map(custom),
]);

const api = async (path, query) => {
  const answer = await (await fetch(`/prom/api/v1/${path}?${new URLSearchParams(query)}`)).json();
  if (answer.status !== 'success') throw new Error(`${answer.error}: ${JSON.stringify(query)}`);
  return answer.data;
};

const ago = (text) => {
  const [, count, unit] = /now-(\d+)([mhd])/.exec(text);
  return count * SECONDS[unit];
};

// What a user who has just opened the dashboard has chosen: everything, or the first of the values.
async function choose(board, own) {
  const values = {},
    texts = {};
  for (const variable of board.templating.list) {
    if (variable.type === 'query') {
      const [, selector, label] = /^label_values\((.*), (\S+)\)$/.exec(variable.definition);
      const match = fill(selector, values, texts, own);
      const found = variable.includeAll
        ? []
        : await api(`label/${fill(label, values, texts, own)}/values`, {
            'match[]': match,
            start: TO - own.range,
            end: TO,
          });
      values[variable.name] = variable.includeAll ? '.*' : found[0];
      texts[variable.name] = variable.includeAll ? 'All' : found[0];
    } else if (variable.type === 'custom') {
      values[variable.name] = variable.options[0].value;
      texts[variable.name] = variable.options[0].text;
    }
  }
  return { values, texts };
}

function fill(text, values, texts, own) {
  return text
    .replaceAll('$__rate_interval', `${own.rate}s`)
    .replaceAll('$__interval', own.interval)
    .replaceAll('$__range_s', `${own.range}`)
    .replaceAll('$__range', `${own.range}s`)
    .replace(/\$\{(\w+):text\}/g, (_, name) => texts[name])
    .replace(/\$([a-z_]+)/g, (_, name) => values[name]);
}

const named = (legend, metric) => {
  if (legend !== '__auto')
    return legend.replace(/\{\{\s*(\w+)\s*\}\}/g, (_, label) => metric[label] ?? '').trim();
  const { __name__, ...labels } = metric;
  const inner = Object.entries(labels)
    .map(([label, value]) => `${label}="${value}"`)
    .join(', ');
  return inner ? `{${inner}}` : 'Value';
};

async function frames(panel, chosen, board) {
  // A panel may have a range of its own.
  const own = panel.timeFrom ? { ...board, range: ago(`now-${panel.timeFrom}`) } : board;
  const [, count, unit] = /^(\d+)([mhd])$/.exec(panel.interval ?? '1m');
  const step = Math.max(count * SECONDS[unit], Math.ceil(own.range / 700 / 60) * 60);
  const mine = { ...own, interval: `${step}s`, rate: Math.max(240, step + 60) };
  const made = [];
  for (const target of panel.targets) {
    const query = fill(target.expr, chosen.values, chosen.texts, mine);
    const end = Math.floor(TO / step) * step;
    const data = target.instant
      ? await api('query', { query, time: TO })
      : await api('query_range', { query, start: end - Math.ceil(own.range / step) * step, end, step });
    if (target.format === 'table') {
      const labels = [...new Set(data.result.flatMap((one) => Object.keys(one.metric)))]
        .filter((label) => label !== '__name__')
        .sort();
      const name = panel.targets.length > 1 ? `Value #${target.refId}` : 'Value';
      if (data.result.length === 0) continue;
      made.push(
        toDataFrame({
          refId: target.refId,
          fields: [
            { name: 'Time', type: FieldType.time, values: data.result.map(() => TO * 1000) },
            ...labels.map((label) => ({
              name: label,
              type: FieldType.string,
              values: data.result.map((one) => one.metric[label] ?? ''),
            })),
            { name, type: FieldType.number, values: data.result.map((one) => Number(one.value[1])) },
          ],
        }),
      );
    } else {
      for (const one of data.result) {
        // What is not there has no point: Grafana puts a gap where a step has none.
        const samples = new Map((one.values ?? [one.value]).map(([time, value]) => [time, Number(value)]));
        const times = target.instant
          ? [...samples.keys()]
          : Array.from(
              { length: Math.ceil(own.range / step) + 1 },
              (_, at) => end - (Math.ceil(own.range / step) - at) * step,
            );
        made.push(
          toDataFrame({
            refId: target.refId,
            name: named(target.legendFormat, one.metric),
            fields: [
              {
                name: 'Time',
                type: FieldType.time,
                values: times.map((time) => time * 1000),
                config: { interval: step * 1000 },
              },
              {
                name: 'Value',
                type: FieldType.number,
                labels: one.metric,
                values: times.map((time) => samples.get(time) ?? null),
                config: { displayNameFromDS: named(target.legendFormat, one.metric) },
              },
            ],
          }),
        );
      }
    }
  }
  const transformed = await firstValueFrom(transformDataFrame(panel.transformations ?? [], made));
  return applyFieldOverrides({
    data: transformed,
    fieldConfig: panel.fieldConfig,
    replaceVariables: (text) => text,
    theme,
    timeZone: 'utc',
    fieldConfigRegistry: registry,
  });
}

const Empty = ({ text }) => <div className="empty">{text}</div>;

function Figures({ panel, data, width, height }) {
  const isStat = panel.type === 'stat';
  const values = getFieldDisplayValues({
    fieldConfig: panel.fieldConfig,
    reduceOptions: panel.options.reduceOptions,
    replaceVariables: (text) => text,
    theme,
    data,
    sparkline: panel.options.graphMode === 'area',
    timeZone: 'utc',
  });
  const draw = ({ value, alignmentFactors, width, height, orientation, count }) =>
    isStat ? (
      <BigValue
        value={{
          ...value.display,
          title: panel.options.textMode === 'value' ? undefined : value.display.title,
        }}
        sparkline={value.sparkline}
        colorMode={panel.options.colorMode}
        graphMode={panel.options.graphMode}
        justifyMode="auto"
        textMode={panel.options.textMode}
        alignmentFactors={alignmentFactors}
        width={width}
        height={height}
        theme={theme}
        count={count}
        text={panel.options.text}
        disableWideLayout={!panel.options.wideLayout}
      />
    ) : (
      <BarGauge
        value={value.display}
        width={width}
        height={height}
        orientation="horizontal"
        field={value.field}
        text={{}}
        display={
          value.view?.getFieldDisplayProcessor(value.colIndex ?? 0) ??
          getDisplayProcessor({ field: value.field, theme })
        }
        theme={theme}
        itemSpacing={8}
        displayMode="basic"
        alignmentFactors={alignmentFactors}
        showUnfilled
        valueDisplayMode="text"
        namePlacement="auto"
        isOverflow={false}
      />
    );
  return (
    <VizRepeater
      source={data}
      getValues={() => values}
      renderValue={draw}
      renderCounter={0}
      width={width}
      height={height}
      getAlignmentFactors={(all) =>
        all.reduce(
          (widest, one) => ({
            title: one.display.title?.length > widest.title.length ? one.display.title : widest.title,
            text: one.display.text.length > widest.text.length ? one.display.text : widest.text,
            suffix: one.display.suffix ?? widest.suffix,
            prefix: '',
          }),
          { title: '', text: '', suffix: '', prefix: '' },
        )
      }
      itemSpacing={8}
      orientation={isStat ? 'auto' : 'horizontal'}
      autoGrid={isStat}
      minVizWidth={8}
      minVizHeight={panel.options.minVizHeight}
      maxVizHeight={panel.options.maxVizHeight}
    />
  );
}

function Drawn({ panel, data, own, width, height }) {
  if (data.error) return <Empty text={data.error} />;
  const has = data.some((frame) => frame.length > 0);
  if (panel.type === 'stat' || panel.type === 'bargauge') {
    return panel.type === 'bargauge' && !has ? (
      <Empty text={panel.fieldConfig.defaults.noValue} />
    ) : (
      <Figures panel={panel} data={data} width={width} height={height} />
    );
  }
  if (!has) return <Empty text={panel.fieldConfig.defaults.noValue ?? 'No data'} />;
  if (panel.type === 'table') {
    return (
      <Table
        data={data[0]}
        width={width}
        height={height}
        columnMinWidth={50}
        cellHeight={panel.options.cellHeight}
        initialSortBy={panel.options.sortBy}
        fieldConfig={panel.fieldConfig}
        footerOptions={panel.options.footer}
        ariaLabel={panel.title}
      />
    );
  }
  const range = {
    from: dateTime((TO - own.range) * 1000),
    to: dateTime(TO * 1000),
    raw: { from: '', to: '' },
  };
  return (
    <TimeSeries
      frames={data}
      timeRange={range}
      timeZone="utc"
      width={width}
      height={height}
      legend={panel.options.legend}
      options={panel.options}
    />
  );
}

function Board({ board, texts, drawn, own }) {
  const last = board.panels.reduce((low, panel) => Math.max(low, panel.gridPos.y + panel.gridPos.h), 0);
  const place = ({ x, y, w, h }) => ({
    position: 'absolute',
    left: 8 + x * COLUMN,
    top: 48 + y * (LINE + GAP),
    width: w * COLUMN - GAP,
    height: h * (LINE + GAP) - GAP,
  });
  return (
    <div style={{ position: 'relative', width: WIDTH, height: 56 + last * (LINE + GAP) }}>
      <div className="head">
        <b>{board.title}</b>
        {board.templating.list
          .filter((one) => one.name in texts)
          .map((one) => (
            <span key={one.name} className="pick">
              {one.label}
              <i>{texts[one.name]}</i>
            </span>
          ))}
        <span className="time">{board.time.from} to now</span>
      </div>
      {board.panels.map((panel) =>
        panel.type === 'row' ? (
          <div key={panel.id} className="row" style={place(panel.gridPos)}>
            ⌄ {panel.title}
          </div>
        ) : (
          <div key={panel.id} style={place(panel.gridPos)}>
            <PanelChrome
              title={panel.title}
              description={panel.description}
              width={place(panel.gridPos).width}
              height={place(panel.gridPos).height}
              loadingState={LoadingState.Done}
            >
              {(width, height) => (
                <Drawn panel={panel} data={drawn[panel.id]} own={own} width={width} height={height} />
              )}
            </PanelChrome>
          </div>
        ),
      )}
    </div>
  );
}

async function start() {
  fieldReducers.list();
  const board = await (await fetch(`/boards/${asked.get('board')}.json`)).json();
  const own = { range: ago(board.time.from), interval: '60s', rate: 240 };
  const chosen = await choose(board, own);
  const drawn = {};
  const faults = [];
  for (const panel of board.panels.filter((panel) => panel.type !== 'row')) {
    try {
      drawn[panel.id] = await frames(panel, chosen, own);
    } catch (error) {
      faults.push(`${panel.title}: ${error.message}`);
      drawn[panel.id] = { error: error.message };
    }
  }
  document.body.style.background = theme.colors.background.canvas;
  createRoot(document.getElementById('root')).render(
    <ThemeContext.Provider value={theme}>
      <GlobalStyles />
      <style>{`body{margin:0;color:${theme.colors.text.primary};font:14px Inter,Helvetica,Arial,sans-serif}
        .head{position:absolute;left:16px;top:12px;display:flex;gap:10px;align-items:center;width:${WIDTH - 32}px;font-size:15px}
        .pick{font-size:12px;background:${theme.colors.background.secondary};border:1px solid ${theme.colors.border.weak};border-radius:2px;padding:2px 8px}
        .pick i{font-style:normal;color:${theme.colors.text.secondary};margin-left:8px}.time{margin-left:auto;font-size:12px;color:${theme.colors.text.secondary}}
        .row{font-size:16px;font-weight:500;padding:3px 8px}.empty{display:flex;height:100%;align-items:center;justify-content:center;color:${theme.colors.text.secondary}}`}</style>
      <Board board={board} texts={chosen.texts} drawn={drawn} own={own} />
    </ThemeContext.Provider>,
  );
  setTimeout(() => {
    window.faults = faults;
    window.isDrawn = true;
  }, 1500);
}

start().catch((error) => {
  window.faults = [String(error.stack ?? error)];
  window.isDrawn = true;
});
