/** The mails of the shop: functions of their data. What does not fit makes a dead letter that says so, and no mail. */
import { unrecoverable } from 'millrace';
import { html, type MailTemplate } from 'millrace/workers';
import { z } from 'zod';

const item = z.object({ product: z.string(), quantity: z.number(), cents: z.number() });

/** A template whose data have a form. */
function template<Data>(
  name: string,
  schema: z.ZodType<Data>,
  make: (data: Data) => ReturnType<MailTemplate>,
): MailTemplate {
  return (given) => {
    const { data, error } = schema.safeParse(given);
    if (!error) return make(data);
    const [{ path, message } = { path: [], message: '' }] = error.issues;
    throw unrecoverable(`mail ${name}: ${path.join('.')}: ${message}`);
  };
}

const euros = (cents: number): string => `${(cents / 100).toFixed(2)} €`;

export const mails = {
  confirmation: template(
    'confirmation',
    z.object({ name: z.string(), order: z.string(), items: z.array(item), totalCents: z.number() }),
    ({ name, order, items, totalCents }) => ({
      subject: 'Thank you for your order',
      text: [
        `Hello ${name},`,
        '',
        ...items.map(({ product, quantity, cents }) => `${quantity} x ${product}  ${euros(cents * quantity)}`),
        `In all ${euros(totalCents)}`,
        '',
        `Your order is ${order}.`,
      ].join('\n'),
      html: html`<p>Hello ${name},</p>
        <ul>
          ${items.map(({ product, quantity, cents }) => html`<li>${quantity} x ${product}: ${euros(cents * quantity)}</li>`)}
        </ul>
        <p>In all ${euros(totalCents)}. Your order is ${order}.</p>`,
    }),
  ),
  shipped: template('shipped', z.object({ name: z.string(), order: z.string(), carrier: z.string() }), (data) => ({
    subject: 'Your order is on its way',
    text: `Hello ${data.name},\n\n${data.carrier} has your order ${data.order}.`,
  })),
  refund: template('refund', z.object({ name: z.string(), order: z.string(), totalCents: z.number() }), (data) => ({
    subject: 'Your money is on its way back',
    text: `Hello ${data.name},\n\nyour order ${data.order} is cancelled, and ${euros(data.totalCents)} are on their way back.`,
  })),
  voucher: template('voucher', z.object({ name: z.string(), code: z.string() }), ({ name, code }) => ({
    subject: 'A present for you',
    text: `Hello ${name},\n\nyour next order is 10 % off with ${code}.`,
  })),
} as const satisfies Record<string, MailTemplate>;
