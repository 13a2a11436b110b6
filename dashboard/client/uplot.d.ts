// The file that the server has at assets/uplot.js.
// eslint-disable-next-line import/no-default-export -- it is uPlot's own.
export { default } from 'uplot';
