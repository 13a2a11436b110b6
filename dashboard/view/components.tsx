/** The parts that pages are made of. Each looks the same on all pages, reads without script and takes its colours from the tokens. */
export { ActionForm, Button, CsrfField, Field, Form, Select, Textarea } from './forms.tsx';
export { Badge, Bytes, Count, Duration, Time } from './values.tsx';
export { CodeBlock, Json } from './json.tsx';
export { Back, Empty, Notice, Pager, Panel, Stat, Stats, Tabs } from './parts.tsx';
export { Table, type Column } from './table.tsx';
